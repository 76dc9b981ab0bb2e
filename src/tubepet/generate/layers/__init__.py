"""Parts that generators are made of."""
