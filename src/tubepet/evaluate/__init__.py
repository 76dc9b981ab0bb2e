"""Stage 08: how good the generated images are."""
