"""The exception that ends a request from the middle of its handler."""

from __future__ import annotations

from core.errors import JubakoError


class Interrupted(BaseException):
    """Ends a request with an error of ours, past all handlers of errors on its way to `processes.http.guard`.

    It is not an Exception, so that nothing in between takes it for a server error or logs it.
    """

    def __init__(self, error: JubakoError) -> None:
        super().__init__(error)
        self.error = error
