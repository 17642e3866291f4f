"""Whether memory stays flat while a command runs."""
