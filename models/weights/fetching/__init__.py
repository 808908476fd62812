"""From a source to files on this machine."""
