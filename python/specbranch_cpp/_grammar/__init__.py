"""Rules for texts: from JSON schemas and regular expressions to those of llguidance, or to GBNF."""
