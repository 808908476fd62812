"""A1111's API, `/sdapi/v1`, as the clients of its web UI use it.

A body becomes a form (`forms`), without what has no meaning here (`unsupported`); the form an admitted request
(`drafting`, `inpainting`, `control`); its events what `/progress` reports (`running`), and its results an answer
(`answers`). What there is to choose from is in `lists`, and what each caller has chosen in `choices`.
"""
