"""Bodies of requests, as all contracts read them."""
