"""Makes models of this package from weights that others published."""
