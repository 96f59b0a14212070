"""Where the layers of both models go, and the memory that they need."""
