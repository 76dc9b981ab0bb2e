"""Medical CT slices for pretraining (stage 04)."""
