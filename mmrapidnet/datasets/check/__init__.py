"""What is wrong with the data sets of a config, found before a run is spoiled by it."""
