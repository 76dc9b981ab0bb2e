"""Readers and writers of other programs' list-mode data, scanners and images."""
