"""An engine in a process of its own: both ends of it, and what they say to each other."""
