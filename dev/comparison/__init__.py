"""Comparisons on Shapes: several seeds each, in one table, by one command."""
