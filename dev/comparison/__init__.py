"""Comparisons of trainings: several seeds each, in one table, by one command."""
