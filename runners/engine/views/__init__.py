"""What each image's pipeline sees of the model: a copy of its own, a sampler, stand-ins for the shared modules."""
