"""What an operator can set about storage; `settings.Settings` has these fields too."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, field_validator

from settings.locations import location_url

DEFAULT_FOLDER = "~/.local/share/jubako"
"""Outside of the Bento, whose folder changes with every version."""


class StorageOptions(BaseModel):
    """Fields of the settings: where results of jobs are kept, and for how long."""

    storage: str | None = Field(
        default=None,
        description="Where results of jobs are kept: a folder, s3://bucket/folder, gs://bucket/folder or "
        "az://container/folder; credentials come from the cloud's own variables (AWS_*, GOOGLE_*, AZURE_STORAGE_*). "
        "Default: the bucket in S3_BUCKET_NAME if there is one, else ~/.local/share/jubako.",
    )
    s3_bucket_name: str | None = Field(
        default=None, validation_alias="S3_BUCKET_NAME", description="Shorthand for JUBAKO_STORAGE=s3://..."
    )
    storage_urls: Literal["presigned", "public"] = Field(
        default="presigned",
        description="Addresses of results in a cloud: signed ones that expire, or the plain ones of a public bucket.",
    )
    storage_public_url: str | None = Field(
        default=None,
        pattern="^https?://",
        description="Address at which a CDN or web server serves the files of JUBAKO_STORAGE; addresses of results "
        "then begin with it, instead of the cloud's or this server's.",
    )
    url_ttl_s: float = Field(
        default=86_400,
        ge=1,
        # The longest validity that Amazon and Google sign.
        le=7 * 86_400,
        description="Seconds for which a signed address is valid.",
    )
    result_ttl_s: float = Field(
        default=7 * 86_400,
        gt=0,
        description="Seconds after which results in a local folder are deleted. Buckets have lifecycle rules for that.",
    )
    storage_timeout_s: float = Field(
        default=60.0,
        gt=0,
        # Retries, which take half of it, must end before the signatures of requests expire (5 minutes).
        le=600,
        description="Seconds that reading or writing one file may take, retries included.",
    )

    @property
    def storage_location(self) -> str:
        """Where results are kept, as a URL."""
        if self.storage is not None:
            return self.storage
        return location_url(f"s3://{self.s3_bucket_name}" if self.s3_bucket_name else DEFAULT_FOLDER)

    @field_validator("storage")
    @classmethod
    def _check_storage(cls, value: str | None) -> str | None:
        return None if value is None else location_url(value)

    @field_validator("storage_public_url")
    @classmethod
    def _without_slash(cls, value: str | None) -> str | None:
        return None if value is None else value.rstrip("/")
