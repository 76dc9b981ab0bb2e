"""Stage 10: many trainings at equal compute, and what can be concluded from them."""
