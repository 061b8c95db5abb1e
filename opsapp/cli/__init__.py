"""The frame of every command: errors, output, options, confirmation."""
