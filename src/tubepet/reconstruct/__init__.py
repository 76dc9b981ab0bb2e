"""Stage 03: from coincidences to images in Bq/mm3."""
