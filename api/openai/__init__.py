"""The OpenAI Images API, as OpenAI's own clients use it, plus the parameters of diffusers.

A body becomes a form (`reading`, `forms`), the form an admitted request (`drafting`), and its results an answer
(`answers`), events (`streaming`) or messages (`socket`). `errors` and `models` have OpenAI's shapes of those two.
"""
