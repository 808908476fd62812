"""Chat completions and responses that answer the user's last message with an image, always.

A conversation becomes a turn (`turns`), which becomes a form of the Images API (`reading`); its result becomes a
completion (`completions`) or a response (`responses`), at once or as events.
"""
