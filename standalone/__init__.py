"""The gateway and its models in one process, without the Bento."""
