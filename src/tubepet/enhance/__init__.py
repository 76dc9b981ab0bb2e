"""Networks that make, of the image of a short acquisition, that of a long one (stage 09)."""
