"""`flask shell` as a person meets it: prompts, magics, tables, and scripts."""
