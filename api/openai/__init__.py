"""The OpenAI Images API, as OpenAI's own clients speak it, with the parameters of diffusers beside.

A body becomes a form (`reading`, `forms`), the form a draft (`drafting`), and what happens to it an answer
(`answers`), events (`streaming`) or messages (`socket`); `errors` and `models` have OpenAI's shapes of those two.
"""
