"""Generating from the page: by a job, with what is shown meanwhile, and what was generated before."""
