"""Every error that a client of Jubako can get, with its HTTP status.

JubakoError
├── InvalidRequest      400  a field is wrong; names the field and what is allowed
│   ├── ContentPolicyViolation  400  the content policy refuses the request or its result
│   ├── InvalidForm     400  api/http/refusals.py: a form does not match its declared fields
│   ├── WrongField      400  api/openai/errors.py: a field of the OpenAI API is wrong
│   ├── CannotDo        400  api/openai/errors.py: the model does not support the task
│   └── WrongStory      400  api/storyboard/forms.py: the first mistake in a story
├── Unauthorized        401  a key is missing or wrong
├── UnknownModel        404  no such entry among the served models
├── UnknownAddress      404  there is nothing at this path
├── WrongMethod         405  the path exists, but not for this method
├── RequestTimeout      408  the client paused for too long while it sent the request
├── TooLarge            413  the request body exceeds the server's limit
├── UnknownEncoding     415  the request body is compressed otherwise than by gzip
├── TargetTooLong       414  the path and query of the request exceed the server's limit
├── Forbidden           403  the operator has disabled this, or this key may not do it
├── Busy                503  the queue is full or the model is not ready; says when to retry
│   ├── NotLoaded       503  api/hugging_face/routes.py: the model is not loaded, and the client does not wait for it
│   ├── LoadInterrupted 503  the model could not be loaded now, as while the hub cannot be reached
│   └── RateExceeded    429  the client exceeded its rate limit
├── LoadFailed          500  the model or a part of it cannot be loaded; says what the operator can do
│   └── NotInitialized  500  storyboard/errors.py: the storyboard model or its LoRA cannot be used
├── DeadlineExceeded    504  the request's own deadline passed
├── Cancelled           499  the client disconnected or cancelled the request
├── OutOfMemory         507  a single image does not fit into the device's memory
├── NonFinite           500  the model produced NaN or infinity for this request
├── PlanningFailed      502  the language model that plans stories is unavailable or returned nothing usable
├── UnknownJob          404  jobs/errors.py: no such job, or its record has expired
├── LedgerUnavailable   503  jobs/errors.py: job records cannot be read or written
├── TooManyJobs         429  jobs/errors.py: the queue, or the client's share of it, is full
├── TooManyResults      429  jobs/errors.py: the client keeps as many results as one may
├── KeyReused           422  jobs/errors.py: an idempotency key came again with another request
├── NotEnded            409  jobs/errors.py: the job must end before its results can be deleted
├── NotWaiting          409  jobs/errors.py: the job no longer waits, so its priority cannot change
├── StorageUnavailable  503  storage/errors.py: storage cannot be reached; a retry may succeed
├── NotStored           404  storage/errors.py: no such file, or it has been deleted
├── NotReady            409  api/openai/videos/answers.py: the video has no file yet
├── NotNow              409  api/pipeline.py: the pipeline is not ready, is running, or has no result
└── GenerationFailed    500  anything else; the cause is only in the server's log
    └── RunnerLost      503  the model's process ended during generation

StartError is for the operator and never reaches a client: a setting or a catalogue is wrong.

`code` is stable and sent between gateway and runner; `status` is the HTTP status. Only an error with `retry_after_s`
is worth a retry: every contract then sends `Retry-After`, and with all other server errors `x-should-retry: false`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar

from core.wording import without_folders

RETRIED = (408, 409, 429)
"""The statuses below 500 that OpenAI's clients retry."""
RESTART_S = 5
"""About as long as a process takes to be restarted."""


class StartError(ValueError):
    """A setting or file of the operator's is wrong, so nothing starts; the message is printed on a terminal."""


class JubakoError(Exception):
    """Base of all errors whose message may be shown to a caller.

    `retry_after_s` is set where trying again later may help, and only there.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    def __init__(self, message: str = "", retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

    @property
    def message(self) -> str:
        """What a caller may read: unlike `str(error)`, which is for the log, without the folders of paths."""
        return without_folders(str(self))


class InvalidRequest(JubakoError):
    """A request field is outside what the model allows.

    `field` is the name the caller used, so that a form can mark it; `fields_named` gives it a contract's.
    """

    code = "invalid_request"
    status = 400

    def __init__(self, field: str, reason: str) -> None:
        super().__init__()
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"

    def rename(self, names: Mapping[str, str]) -> None:
        """Give the field the caller's name for it; `names` has those that differ, by ours."""
        self.field = names.get(self.field, self.field)


class ContentPolicyViolation(InvalidRequest):
    """A safety check refused the request or its result; the reason names neither the word nor what was seen."""

    code = "content_policy_violation"


class Unauthorized(JubakoError):
    code = "unauthorized"
    status = 401


class UnknownModel(JubakoError):
    code = "unknown_model"
    status = 404

    def __init__(self, model: str, served: list[str]) -> None:
        super().__init__(f"model: {model!r} is not served here; served: {', '.join(served)}")


class UnknownAddress(JubakoError):
    code = "unknown_address"
    status = 404

    def __init__(self) -> None:
        super().__init__("there is nothing at this address; the server's page `docs` lists all that there are")


class WrongMethod(JubakoError):
    code = "wrong_method"
    status = 405

    def __init__(self, method: str, allowed: str) -> None:
        methods = [name.strip() for name in allowed.split(",")]
        self.allowed = ", ".join(sorted({*methods, *(["HEAD"] if "GET" in methods else [])}))
        super().__init__(f"this address does not answer {method}, but {self.allowed}")


class TooLarge(JubakoError):
    code = "too_large"
    status = 413


class UnknownEncoding(JubakoError):
    code = "unknown_encoding"
    status = 415


class TargetTooLong(JubakoError):
    code = "target_too_long"
    status = 414


class RequestTimeout(JubakoError):
    code = "request_timeout"
    status = 408


class Forbidden(JubakoError):
    code = "forbidden"
    status = 403


class Busy(JubakoError):
    code = "busy"
    status = 503

    def __init__(self, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message, retry_after_s or 1)


class LoadInterrupted(Busy):
    """Something the model needs could not be fetched; a later attempt may succeed."""

    code = "load_interrupted"


class LoadFailed(JubakoError):
    """A model, or what a request adds to it, cannot be loaded: not there, not allowed, damaged or too large.

    Only the operator can help, so clients are not told to retry.
    """

    code = "load_failed"


class RateExceeded(Busy):
    """The caller's own limit, not the server's."""

    code = "rate_limit_exceeded"
    status = 429


class DeadlineExceeded(JubakoError):
    code = "deadline_exceeded"
    status = 504


class Cancelled(JubakoError):
    code = "cancelled"
    status = 499


class OutOfMemory(JubakoError):
    code = "out_of_memory"
    status = 507


class NonFinite(JubakoError):
    code = "non_finite"
    status = 500


class GenerationFailed(JubakoError):
    code = "generation_failed"
    status = 500


class PlanningFailed(JubakoError):
    """The language model that plans scenes is unavailable, or returned no usable ones."""

    code = "planning_failed"
    status = 502


class RunnerLost(GenerationFailed):
    """The model's process ended in the middle of a request; another attempt may succeed."""

    code = "runner_lost"
    status = 503

    def __init__(self) -> None:
        super().__init__("the model stopped before the image was done", RESTART_S)


@contextmanager
def fields_named(names: Mapping[str, str]) -> Iterator[None]:
    """Let an InvalidRequest from this block call its field as the caller did; `names` has the names that differ, by
    ours.
    """
    try:
        yield
    except InvalidRequest as error:
        error.rename(names)
        raise


def named_through(names: Mapping[str, str], further: Mapping[str, str]) -> dict[str, str]:
    """Return the names that fields have after both renamings, where they differ."""
    return {**further, **{field: further.get(name, name) for field, name in names.items()}}


def retry_headers(error: JubakoError) -> dict[str, str]:
    """Return the headers that say when to try again, or that it is no use.

    By default clients retry every 5xx and some others, OpenAI's for a minute; they look at `x-should-retry` first.
    """
    if error.retry_after_s is not None:
        return {"Retry-After": str(error.retry_after_s)}
    return {"x-should-retry": "false"} if error.status >= 500 or error.status in RETRIED else {}


def retry_fields(error: JubakoError) -> dict[str, int]:
    """Return the field that says the same in a response whose headers are already sent."""
    return {} if error.retry_after_s is None else {"retry_after_s": error.retry_after_s}
