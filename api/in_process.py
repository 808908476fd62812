"""Re-exports `inpaint` where installed releases of `client/` look for it."""

from __future__ import annotations

from standalone.in_process import inpaint as inpaint
