"""Stage 07: the attention-memory GAN and its rivals."""
