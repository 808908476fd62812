"""What an operator can set about storyboards; `settings.Settings` has these fields too."""

from __future__ import annotations

from pathlib import Path

from pydantic import AliasChoices, BaseModel, Field, field_validator


class StoryOptions(BaseModel):
    """Fields of the settings; variables without the prefix are those of the storyboard server's own document."""

    lora_path: Path | None = Field(
        default=None,
        validation_alias=AliasChoices("JUBAKO_LORA_PATH", "LORA_PATH"),
        description="The LoRA of the stories' character: a .safetensors file, or a folder with one "
        "(pytorch_lora_weights.safetensors, or peft's adapter_model.safetensors).",
    )
    story_model: str | None = Field(
        default=None,
        description="Catalogue id of the model that generates stories. Default: the first of JUBAKO_MODELS.",
    )
    story_lora: str | None = Field(
        default=None,
        description="Name of the LoRA, among those of that model in the catalogue, that stories use when they name "
        "none and JUBAKO_LORA_PATH is not set.",
    )
    story_lora_trigger: str = Field(
        default="", description="Words put before every prompt of a story, to trigger the character's LoRA."
    )
    story_clip_model: str | None = Field(
        default=None,
        description="The CLIP model that compares frames with their prompts: a folder, or a hub repository. Default: "
        "the miniature's own when that generates the stories, else openai/clip-vit-large-patch14.",
    )
    story_clip_threshold: float | None = Field(
        default=None,
        ge=-1,
        le=1,
        description="Cosine similarity of a frame and its prompt below which the frame is generated again. Default: "
        "one that fits the CLIP model in use.",
    )
    story_max_tries: int = Field(default=3, ge=1, le=10, description="The most attempts at one frame.")
    story_reference_scale: float | None = Field(
        default=None,
        ge=0,
        le=2,
        description="How strongly the reference image influences frames in reference-guided mode, where a story does "
        "not say it. Default: 0.2 with an IP-Adapter, with Redux its entry's own scale.",
    )
    llm_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices("JUBAKO_LLM_URL", "OPENAI_BASE_URL"),
        description="An OpenAI-compatible endpoint, such as http://localhost:11434/v1, whose language model breaks "
        "stories into scenes. Default, with a key: OpenAI's own; without one, the built-in planner does it.",
    )
    llm_key: str | None = Field(
        default=None,
        repr=False,
        validation_alias=AliasChoices("JUBAKO_LLM_KEY", "OPENAI_API_KEY"),
        description="Key of that endpoint.",
    )
    llm_model: str = Field(default="gpt-5.4-mini", description="The language model, as its endpoint names it.")
    llm_timeout_s: float = Field(
        default=60.0, gt=0, description="Seconds that one answer of the language model may take."
    )

    @field_validator("llm_url")
    @classmethod
    def _is_http(cls, value: str | None) -> str | None:
        """Check the scheme; the error omits the value, which may contain a password."""
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("should begin with http:// or https://")
        return value

    @property
    def asks_language_model(self) -> bool:
        """Whether stories are broken into scenes by a language model."""
        return self.llm_key is not None or self.llm_url is not None
