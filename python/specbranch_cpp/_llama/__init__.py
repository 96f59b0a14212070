"""Finds llama.cpp; child processes test the CPU, and files that are new."""
