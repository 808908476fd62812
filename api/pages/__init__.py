"""Pages for browsers, and the files that they load, all from this server."""
