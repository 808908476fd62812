"""Each image's view of the model: a copy of the pipeline with its own sampler, and stand-ins for shared modules."""
