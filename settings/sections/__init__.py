"""The settings, a class for each part of the server."""
