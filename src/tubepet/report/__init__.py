"""The report of a run, and other pages for readers (stage 11)."""
