"""The gateway and its models in one process, without BentoML's services."""
