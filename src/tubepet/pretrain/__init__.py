"""The variational autoencoder of CT slices; its encoder makes the queries of the paper's model."""
