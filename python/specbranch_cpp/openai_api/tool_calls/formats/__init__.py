"""The formats of tool calls, one family in each file."""
