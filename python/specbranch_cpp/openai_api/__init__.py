"""llama-cpp-python's two calls over an engine: `Engine.create_completion` and its like."""
