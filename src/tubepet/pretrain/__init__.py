"""Stage 05: the variational autoencoder on CT."""
