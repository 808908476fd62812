"""Stories: generated at once by the server, against frame by frame."""
