"""Published checkpoints into ours, with a key map for each family."""
