"""What an operator can set about the servers that Jubako replaces; `settings.Settings` has these fields too."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field


class ContractOptions(BaseModel):
    """The variables of those servers, under their documented names."""

    env_file: Path = Field(
        default=Path(".env"),
        description="A file of variables, those of libraries included, as the servers that Jubako replaces read it. "
        "Relative to the working folder; variables of the environment itself take precedence. /dev/null is none.",
    )
    text2image_model: str | None = Field(
        default=None,
        validation_alias="TEXT2IMAGE_MODEL",
        description="The model of /pipeline/*. Without JUBAKO_MODELS it is the only one served; with it, one of them.",
    )
    model: str | None = Field(
        default=None,
        validation_alias="MODEL",
        description="The same, for containers that are started as that server's document says. Other tools use this "
        "name too, so beside JUBAKO_MODELS a value that is no served model is ignored, with a warning; alone, it stops "
        "the start.",
    )
    tokenopt_enable_gpu: bool = Field(
        default=False,
        validation_alias="TOKENOPT_ENABLE_GPU",
        description="Whether /generate-inpainting runs the real pipeline even if TOKENOPT_USE_DUMMY_GENERATION is set.",
    )
    tokenopt_use_dummy_generation: bool = Field(
        default=False,
        validation_alias="TOKENOPT_USE_DUMMY_GENERATION",
        description="Whether /generate-inpainting returns coloured dummy images without a model, to test its clients.",
    )

    @property
    def dummy_generation(self) -> bool:
        """Whether to return dummy images instead of generating."""
        return self.tokenopt_use_dummy_generation and not self.tokenopt_enable_gpu
