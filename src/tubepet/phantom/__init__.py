"""Stage 01: tube geometry, activity and attenuation maps."""
