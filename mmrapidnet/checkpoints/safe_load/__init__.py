"""Checkpoints read as data, of which nothing is executed."""
