"""What an operator can set about requests; `settings.Settings` has these fields too."""

from __future__ import annotations

from pydantic import BaseModel, Field


class RequestOptions(BaseModel):
    """Fields of the settings: how far any request may go, whatever contract it comes by."""

    request_timeout_s: float = Field(
        default=600.0,
        gt=0,
        description="Seconds after which a request is given up; none may ask for a longer deadline.",
    )
    max_upload_bytes: int = Field(
        default=32 * 2**20, ge=1024, description="Size of a whole request body; larger ones are answered 413."
    )
    max_image_px: int = Field(
        default=64_000_000,
        ge=64,
        description="Width times height of an uploaded image, read from its header before it is decoded.",
    )
    max_prompt_chars: int = Field(
        # Both prompts, in UTF-16, must fit into the 64 KB that JPEG has for its EXIF block.
        default=2000,
        ge=1,
        le=7000,
        description="Characters in a prompt and, separately, in a negative prompt.",
    )
    max_num_images: int = Field(default=8, ge=1, description="Pictures that one request may ask for.")
    public_url: str | None = Field(
        default=None,
        pattern="^https?://[^/]+.*[^/]$",
        description="This server's address as callers know it, for links to results; default: as each request says.",
    )
