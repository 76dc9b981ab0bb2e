"""One file per generator."""
