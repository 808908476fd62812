"""Compiled denoisers: what is compiled, for which passes, and where its code is kept."""
