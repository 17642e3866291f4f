"""What the command lines in `tools/` call: train, test, infer, analyze."""
