"""The page to play with, at `/ui`: built with Gradio, in a process of its own that the gateway starts.

It knows nothing of the server but its public API, which it calls with the visitor's key. It imports
`client` and Gradio, and no other room.
"""
