"""The state of the server and its models; loading and unloading models."""
