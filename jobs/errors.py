"""Errors of jobs, beside those of generation."""

from __future__ import annotations

from core.errors import JubakoError

RETRY_S = 5


class UnknownJob(JubakoError):
    """There is no such job, or its record has expired."""

    code = "unknown_job"
    status = 404

    def __init__(self, job_id: str) -> None:
        super().__init__(f"there is no job {job_id!r}, or its record has expired")


class LedgerUnavailable(JubakoError):
    """The records cannot be read or written now."""

    code = "ledger_unavailable"
    status = 503

    def __init__(self, message: str) -> None:
        super().__init__(message, RETRY_S)


class TooManyJobs(JubakoError):
    """The queue, or the caller's share of it, is full."""

    code = "too_many_jobs"
    status = 429


class TooManyResults(JubakoError):
    """The caller has reached the limit of stored results."""

    code = "too_many_results"
    status = 429


class KeyReused(JubakoError):
    """An idempotency key came again with another request."""

    code = "idempotency_key_reused"
    status = 422

    def __init__(self) -> None:
        super().__init__("Idempotency-Key: was used for another request; use a new one for each request")


class NotWaiting(JubakoError):
    """The job is not waiting, for a worker or in an engine, so it has no place in line to change."""

    code = "not_waiting"
    status = 409

    def __init__(self) -> None:
        super().__init__("the job is being drawn, or has ended, so its priority stays as it is")


class NotEnded(JubakoError):
    """The job must end first."""

    code = "not_ended"
    status = 409

    def __init__(self) -> None:
        super().__init__("the job has not ended; DELETE /api/{session_id} cancels it")
