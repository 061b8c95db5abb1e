"""Files that a user names: written whole, and never over a file of the installation."""
