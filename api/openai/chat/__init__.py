"""Chat completions and responses whose answer is always an image: what the user's last message asks for.

A conversation becomes a turn (`turns`), that a form of the Images API (`reading`), and its result a completion
(`completions`) or a response (`responses`), at once or as events.
"""
