"""The asynchronous contract: submit, follow, fetch and cancel jobs."""
