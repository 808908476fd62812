"""Where installed releases of `client/` look for `inpaint`."""

from __future__ import annotations

from standalone.in_process import inpaint as inpaint
