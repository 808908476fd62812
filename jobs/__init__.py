"""Asynchronous work: jobs that outlive the connection that asked for them, and the processes that do them."""
