"""The commands: parse, call one service, return its answer. The frame prints it."""
