"""The calls `create_completion` and `create_chat_completion` of llama-cpp-python on an engine."""
