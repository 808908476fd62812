"""What is generated: a draft from the wire, the request that it becomes, and what happens to it."""
