"""Jobs: a command run alone, bounded, watched and written down."""
