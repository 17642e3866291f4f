"""Hooks, one in a module, which registers it."""
