"""Pages for browsers: what they show, and the files that they load. All of it comes from this server."""
