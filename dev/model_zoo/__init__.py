"""What runs and models look like: curves, contact sheets, counts."""
