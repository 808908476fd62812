"""The HTTP contracts: they translate wire formats to drafts, and events to answers, and nothing else."""
