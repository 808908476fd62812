"""Makes entries for models outside of the catalogue, from their files and the hub's information."""
