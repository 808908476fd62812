"""The OpenAI Videos API: jobs whose result is a video.

A body becomes a form (`reading`, `forms`), the form a request (`drafting`), and that an order for the job desk; a job
is shown as OpenAI's clients know videos (`answers`), and its file as itself or as stills (`content`).
"""
