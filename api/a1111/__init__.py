"""A1111's API, `/sdapi/v1`, as the clients of its web UI use it.

A body becomes a form (`forms`) once unsupported fields are removed (`unsupported`). The form becomes an admitted
request (`drafting`, `inpainting`, `control`), whose events feed `/progress` (`running_requests`) and whose results
become an answer (`answers`). `lists` has what callers can choose from, `model_choices` what each caller has chosen.
"""
