"""GATE 10: worlds, digitizer, tables, the process that runs it."""
