"""Stage 02: PET acquisitions of the tubes, by GATE or the fast engine."""
