"""How good the colours of a model are, and the pictures and tables that show it."""
