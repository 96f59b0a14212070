"""What an answer consists of: thoughts, content and tool calls."""
