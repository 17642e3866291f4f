"""What the maintainers run: `python -m dev.NAME` in the root of the repository."""
