"""What every room uses: the error of a user's mistake, files, folders, the machine."""
