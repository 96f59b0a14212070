"""Our grammars of JSON schemas against llguidance: what is right, and how long it takes."""
