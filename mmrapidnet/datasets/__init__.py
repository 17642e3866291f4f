"""The drawn data set `shapes`, and `check`, which finds what is wrong with any."""
