"""What an operator can set about jobs; `settings.Settings` has these fields too."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from pydantic import AliasChoices, BaseModel, Field, field_validator


class JobOptions(BaseModel):
    """Fields of the settings; the prefix `JUBAKO_` and the checks of unknown names are the settings' own."""

    redis_url: str | None = Field(
        default=None,
        pattern="^(redis|rediss|unix)://",
        description="Redis, which lets several replicas share the queue and the records. Without it, one process "
        "keeps them in a file. REDIS_HOST, REDIS_PORT, REDIS_DB and REDIS_PASSWORD also work.",
    )
    redis_host: str | None = Field(
        default=None, validation_alias="REDIS_HOST", description="Shorthand for a Redis URL."
    )
    redis_port: int = Field(default=6379, validation_alias="REDIS_PORT", description="Used with REDIS_HOST.")
    redis_db: int = Field(default=0, validation_alias="REDIS_DB", description="Used with REDIS_HOST.")
    redis_password: str | None = Field(
        default=None, repr=False, validation_alias="REDIS_PASSWORD", description="Used with REDIS_HOST."
    )
    jobs_file: Path = Field(
        default=Path("~/.local/share/jubako/jobs.sqlite"),
        description="Where jobs are kept when there is no Redis.",
    )
    task_ttl_s: float = Field(
        default=3600.0,
        gt=0,
        validation_alias=AliasChoices("JUBAKO_TASK_TTL_S", "TASK_TTL"),
        description="Seconds that the record of a finished job is kept. Unfinished jobs are always kept.",
    )
    job_timeout_s: float = Field(
        default=86_400.0,
        gt=0,
        description="Seconds after its acceptance at which a job without a deadline of its own is given up.",
    )
    job_concurrency: int = Field(
        default=32,
        ge=1,
        description="Jobs of each priority that one process handles at a time, running or waiting for an engine.",
    )
    job_redelivery_s: float = Field(
        default=30.0,
        gt=0,
        description="Seconds of silence after which a replica's jobs are given to others.",
    )
    max_runners_lost: int = Field(
        default=3, ge=1, description="Times that a job may crash the model's process before the job fails."
    )
    max_waiting_jobs: int = Field(
        default=1000, ge=1, description="Jobs of each priority that may wait; further ones get 429."
    )
    max_jobs_per_caller: int = Field(
        default=200, ge=1, description="Unfinished jobs that one client may have; further ones get 429."
    )
    max_results_per_caller: int = Field(
        default=10_000,
        ge=1,
        description="Stored results that one user may have; further jobs get 429 until some are deleted or expire.",
    )
    reuse_results: bool = Field(
        default=True, description="Whether a request with a seed gets the stored result of an identical earlier one."
    )
    webhook_secret: str | None = Field(
        default=None,
        repr=False,
        min_length=16,
        description="The secret that signs webhooks, from which each key gets its own; without it none are sent.",
    )
    webhook_allow_private: bool = Field(
        default=False, description="Whether webhooks may go to private and local addresses."
    )
    webhook_pause_s: float = Field(
        default=5.0,
        gt=0,
        description="Seconds before a failed webhook is sent again; each further pause is three times the last.",
    )

    @field_validator("redis_port", mode="before")
    @classmethod
    def _port_of_link(cls, value: object) -> object:
        """Take the port of an address: beside a Service named redis, Kubernetes sets REDIS_PORT=tcp://10.0.0.1:6379."""
        return value.rpartition(":")[2] if isinstance(value, str) else value

    @property
    def redis(self) -> str | None:
        """The URL of Redis, however it was configured."""
        if self.redis_url is not None or self.redis_host is None:
            return self.redis_url
        password = f":{quote(self.redis_password, safe='')}@" if self.redis_password else ""
        return f"redis://{password}{self.redis_host}:{self.redis_port}/{self.redis_db}"
