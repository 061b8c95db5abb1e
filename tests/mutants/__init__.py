"""Mutation tests of the unit of work, the locks and texts."""
