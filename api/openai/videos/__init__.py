"""The OpenAI Videos API: jobs whose result is a video.

A body becomes a form (`reading`, `forms`), the form a request (`drafting`), and the request an order for the job desk.
A job is shown as one of OpenAI's videos, and its file as it is or as stills (`answers`).
"""
