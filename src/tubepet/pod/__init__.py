"""Probability of detection: how large a defect must be to be found, by class and dose."""
