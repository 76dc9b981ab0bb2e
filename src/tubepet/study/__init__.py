"""The study: many trainings of all generators at equal compute, compared (stage 12)."""
