"""The drawn data set `shapes`, `convert` for published ones, and `check` for any."""
