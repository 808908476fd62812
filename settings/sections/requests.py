"""What an operator can set about requests; `settings.Settings` has these fields too."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class RequestOptions(BaseModel):
    """Fields of the settings: how far any request may go, whatever contract it comes by."""

    request_timeout_s: float = Field(
        default=600.0,
        gt=0,
        description="Seconds after which a request is cancelled, and the longest deadline that one may ask for, beside "
        "those of its denoising at JUBAKO_EXPECTED_TFLOPS, where the model's operations have been counted: for the "
        "line, loading, encoding, decoding, and passes shared with others.",
    )
    expected_tflops: float = Field(
        default=100.0,
        gt=0,
        description="10^12 operations a second that the slowest device reaches; by it, the time of a request's "
        "denoising is reckoned, which its deadline has on top of JUBAKO_REQUEST_TIMEOUT_S.",
    )
    client_timeout_s: float = Field(
        default=30.0,
        gt=0,
        description="Seconds that a client may take to send a request's headers, or the first message of a WebSocket, "
        "and may pause while it sends a body, 1 KB a second at least on average, or reads an answer.",
    )
    max_streams_per_client: int = Field(
        default=100,
        ge=1,
        description="Event streams and WebSockets that one client may have open at once, in each gateway process; "
        "further ones get 429.",
    )
    max_upload_bytes: int = Field(
        default=72 * 2**20,
        ge=1024,
        description="Largest size of a request body; larger ones get 413. The default has room for an image of 50 MB, "
        "the most that OpenAI's API takes, and its mask, both in base64.",
    )
    max_image_px: int = Field(
        default=64_000_000,
        ge=64,
        description="Largest width times height of an uploaded image, or of several of one field together, read from "
        "their headers before decoding. WebP, AVIF and HEIC files, and some JPEG and TIFF files, have a lower limit: "
        "all that is being decoded shares 320 MiB.",
    )
    max_video_px: int = Field(
        default=600_000_000,
        ge=64,
        description="Largest width times height times frames of an uploaded video: the default has room for 20 seconds "
        "of 1280x720 at 30 frames a second.",
    )
    max_prompt_chars: int = Field(
        default=32_000,
        ge=1,
        le=100_000,
        description="Most characters in a prompt and, separately, in a negative prompt; as many as OpenAI's API takes. "
        "What of them a model does not read is in the hint of its answer.",
    )
    prompt_syntax: Literal["plain", "a1111", "compel"] = Field(
        default="plain",
        description="How prompts are read whose requests do not say: `plain`, `a1111` or `compel` (docs/prompts.md).",
    )
    max_num_images: int = Field(
        default=8,
        ge=1,
        description="Images that one request may ask for. Of OpenAI's `n`, up to 10, so many are made at once.",
    )
    snap_sizes: bool | None = Field(
        default=None,
        description="Whether a size that a model does not generate becomes the nearest one that it does, as the hint "
        "of the answer then says, instead of being refused. Default: true with an alias for all names (`*`).",
    )
    reproducible: bool = Field(
        default=False,
        description="Whether requests that do not say get the same bytes for the same seed whatever else the server "
        "does, in half precision too; see [Reproducible results](models.md#reproducible-results).",
    )
    step_cache: Literal["off", "quality", "fast", "auto"] = Field(
        default="off",
        description="Whether requests that do not say have denoising steps predicted instead of computed: `off`, "
        "`quality`, `fast`, or `auto`, only while the server is behind (docs/step-cache.md).",
    )
    image_metadata: Literal["jubako", "a1111"] = Field(
        default="jubako",
        description="What images carry where programs look for their parameters (PNG's `parameters`, EXIF's "
        "UserComment): `jubako`, JSON that can be posted back, or `a1111`, the text of A1111's web UI, with the JSON "
        "beside it (docs/images.md). Images of `/sdapi/v1` always have A1111's.",
    )
    public_url: str | None = Field(
        default=None,
        pattern="^https?://[^/]+.*[^/]$",
        description="This server's public address, for links to results: https://images.example.com, or with the path "
        "under which a proxy shows it. Default: taken from each request.",
    )
