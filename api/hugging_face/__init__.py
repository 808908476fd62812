"""The inference API of Hugging Face, as `InferenceClient` and clients of Inference Endpoints speak it.

A body becomes an inference (`reading`, `forms`), which becomes a draft for the model named in the address
(`drafting`); the answer is a file (`routes`).
"""
