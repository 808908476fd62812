"""Models outside of the catalogue, given by their place: a repository, folder, file or address. No torch here."""
