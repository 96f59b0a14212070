"""Tool calls: tools in prompts, and calls in answers."""
