"""The inference API of Hugging Face, as `InferenceClient` and clients of Inference Endpoints speak it.

A body becomes an inference (`reading`, `forms`), that a draft for the model that its address names (`drafting`), and
the answer is a file (`routes`).
"""
