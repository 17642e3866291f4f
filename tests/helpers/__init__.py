"""What several tests use: tiny models and data, commands, processes that are killed."""
