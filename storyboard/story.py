"""What a caller may say about a story: the parameters of the storyboard server's document, then ours."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from PIL import Image
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from core.generation.client_fields import MAX_SEED, RANDOM_SEED, ClientFields, random_seed
from core.generation.draft import REFERENCE_IMAGE, Loras, OptionalImage, ReferenceScale, from_json
from core.generation.request import Priority
from core.generation.tuning import GuidanceEnd, StepCaching
from core.generation.upscaling import UpscaleChoice
from storyboard.characters import MOST_CHARACTERS, Character, Mode
from storyboard.scenes import MAX_FRAMES, MIN_FRAMES

MIN_CHARS, MAX_CHARS = 10, 500
REFERENCES = (
    "References for mode edit: the first image is the first character's, and so on; references of further characters "
    "are drawn. Without `characters`, every frame follows all images. Repeat the field for several."
)


def _random_if_asked(seed: int) -> int:
    return random_seed() if seed == RANDOM_SEED else seed


class GivenScene(BaseModel):
    """A scene that the caller has planned or changed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    prompt: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2 * MAX_CHARS)] = Field(
        description="What the model is asked for."
    )
    caption: Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_CHARS)] = Field(
        default="", description="The part of the story that it shows."
    )
    characters: tuple[str, ...] | None = Field(
        default=None,
        max_length=MOST_CHARACTERS,
        description="The story's `characters` in this scene. Default: those whom the prompt or the caption names.",
    )


class Story(ClientFields):
    """A story to generate; None stands for the operator's or the model's default."""

    prompt: Annotated[str, StringConstraints(strip_whitespace=True, min_length=MIN_CHARS, max_length=MAX_CHARS)] = (
        Field(description="The story.", examples=["Aldar Kose tricks a merchant and steals his horse"])
    )
    use_ref_guided: bool = Field(
        default=False,
        description="Use the first frame as the reference image of all others, so that the character stays the same.",
    )
    mode: Mode = Field(
        default=Mode.AUTO,
        description="How the character stays the same: simple (by the prompt and LoRAs), ref_guided (an IP-Adapter "
        "follows a reference image), edit (a model that edits images draws each frame from the references). auto: edit "
        "with `characters` or `images`, and of models that only edit; with another reference, what the model has; else "
        "simple. The answer says which.",
    )
    num_frames: int | None = Field(
        default=None, ge=MIN_FRAMES, le=MAX_FRAMES, description="Default: as many as the story needs."
    )
    scenes: Annotated[
        tuple[GivenScene, ...] | None,
        Field(
            min_length=MIN_FRAMES,
            max_length=MAX_FRAMES,
            description="What to draw, in place of a plan: each frame's `prompt` and `caption`, such as "
            "POST /storyboard/plan returns; in forms as JSON.",
        ),
        BeforeValidator(from_json),
    ] = None
    seed: Annotated[int, AfterValidator(_random_if_asked)] = Field(
        default=42, ge=RANDOM_SEED, le=MAX_SEED, description="Same seed and story, same frames; -1 is random."
    )
    gpt_temperature: float = Field(
        default=0.7,
        ge=0,
        le=1,
        description="How freely a language model plans; the built-in planner ignores it, with a hint.",
    )
    model: str | None = Field(default=None, description="Catalogue id. Default: the operator's model for stories.")
    loras: Loras = ()
    """Default: the operator's character, if there is one."""
    reference_image: OptionalImage = Field(
        default=None, description=f"{REFERENCE_IMAGE} All frames follow it, as with `use_ref_guided`."
    )
    reference_scale: ReferenceScale = None
    characters: Annotated[
        tuple[Character, ...],
        Field(
            max_length=MOST_CHARACTERS,
            description="Characters to keep consistent in mode edit, the main one first; a frame follows those whom "
            "it names. In forms as JSON, or just one name.",
        ),
        BeforeValidator(from_json),
    ] = ()
    images: tuple[Image.Image, ...] = Field(default=(), max_length=MOST_CHARACTERS, description=REFERENCES)
    reference_model: str | None = Field(
        default=None,
        description="Catalogue id of the model that draws references of characters without images. Default: the "
        "story's model if it draws from text, else the model it was made from, else the first that does.",
    )
    num_inference_steps: int | None = Field(default=None, ge=1, description="Of each frame. Default: the model's.")
    guidance_scale: float | None = Field(default=None, ge=0, description="Of each frame. Default: the model's.")
    width: int | None = Field(default=None, ge=1, description="Pixels of each frame. Default: the model's.")
    height: int | None = Field(default=None, ge=1, description="Pixels of each frame. Default: the model's.")
    negative_prompt: str = Field(default="", description="What to keep out of all frames.")
    step_cache: StepCaching = None
    guidance_end: GuidanceEnd = 1
    upscale: UpscaleChoice = None
    clip_threshold: float | None = Field(
        default=None,
        ge=-1,
        le=1,
        description="Frames that score below it are generated again. Default: the operator's.",
    )
    max_tries: int | None = Field(
        default=None, ge=1, le=10, description="How many times a frame is generated at most. Default: the operator's."
    )
    deadline_s: float | None = Field(
        default=None,
        gt=0,
        description="Seconds after which the finished frames are returned. Default and limit: the server's.",
    )
    output_format: Literal["png", "jpeg", "webp"] = Field(default="png", description="Of the frames.")
    priority: Priority = Field(default=Priority.NORMAL, description="0 is served first, 1 is normal, 2 last.")

    @model_validator(mode="after")
    def _one_count(self) -> Self:
        if self.scenes is not None and self.num_frames not in (None, len(self.scenes)):
            given = {"frames": self.num_frames, "scenes": len(self.scenes)}
            raise PydanticCustomError("scenes", "num_frames is {frames}, and there are {scenes} scenes", given)
        return self

    @property
    def frames_wanted(self) -> int | None:
        """None leaves it to the planner."""
        return self.num_frames if self.scenes is None else len(self.scenes)

    @property
    def references(self) -> tuple[Image.Image, ...]:
        """The caller's own."""
        return self.images if self.reference_image is None else (self.reference_image, *self.images)
