"""Reading a config: its library, its types, what a command line overrides."""
