"""How good a net is, and what it costs."""
