"""HTTP interfaces of other servers: each turns requests into OpenAI's, and replies back."""
