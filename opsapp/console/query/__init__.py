"""`flask query`: one statement that reads, and its values."""
