"""The variational autoencoder of CT slices, whose encoder queries the attention memory."""
