"""A storyboard as data: the document's fields, then ours."""

from __future__ import annotations

from base64 import b64encode

from pydantic import BaseModel, ConfigDict, Field

from gateway.media.encoding import OutputFormat, encode_result
from storyboard.frames import Frame, Storyboard
from storyboard.references import DrawnReference

QUALITY = 90


class FrameAnswer(BaseModel):
    frame_number: int = Field(description="1 is the first.")
    image: str = Field(description="Base64; PNG, unless the story asked for another format.")
    prompt: str = Field(description="What the model was asked for.")
    clip_score: float | None = Field(
        description="Cosine of image and prompt by CLIP; null if it could not be computed."
    )
    caption: str = Field(description="The part of the story that it shows.")
    seed: int = Field(description="The seed of the try that was kept.")
    tries: int = Field(description="How many times it was generated.")
    skipped_steps: int = Field(description="Denoising steps of that try that were predicted instead of computed.")
    follows: list[str] = Field(description="The characters from whose references it was edited.")


class ReferenceAnswer(BaseModel):
    character: str = Field(description="Its character's name; empty if the story has no characters.")
    image: str = Field(description="Base64, in the format of the frames.")
    prompt: str = Field(description="What the model was asked for.")
    model: str = Field(description="The model that drew it.")
    clip_score: float | None = Field(description="As for frames.")
    seed: int


class StoryboardAnswer(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    success: bool = Field(description="Whether all frames are there; if not, `error` says why.")
    story_prompt: str
    num_frames: int
    frames: list[FrameAnswer]
    generation_time_seconds: float
    mode: str = Field(description="simple, ref_guided or edit.")
    planner: str = Field(description="What planned the scenes: builtin, a language model, or `given` (the caller).")
    model: str
    seed: int
    error: str | None = None
    warnings: list[str] = []
    references: list[ReferenceAnswer] = Field(
        default=[], description="The references that were drawn for the story, which its frames follow."
    )


def answer_of(board: Storyboard) -> StoryboardAnswer:
    """Encode a storyboard; takes a while, so run it in a thread."""

    def encoded(drawn: Frame | DrawnReference) -> str:
        return b64encode(image_file(drawn, board.story.output_format)).decode()

    return answer_with(board, [*map(encoded, board.frames)], [*map(encoded, board.references)])


def answer_with(board: Storyboard, images: list[str], references: list[str]) -> StoryboardAnswer:
    """Describe a storyboard, with the given strings, base64 or file names, as images of its frames and references."""
    return StoryboardAnswer(
        success=board.error is None,
        story_prompt=board.story.prompt,
        num_frames=len(board.frames),
        frames=[frame_answer(frame, image) for frame, image in zip(board.frames, images, strict=True)],
        generation_time_seconds=round(board.seconds, 1),
        mode=board.story.mode,
        planner=board.plan.planner,
        model=board.model,
        seed=board.story.seed,
        error=board.error,
        warnings=list(board.warnings),
        references=[reference_answer(each, image) for each, image in zip(board.references, references, strict=True)],
    )


def frame_answer(frame: Frame, image: str) -> FrameAnswer:
    """Describe one frame."""
    return FrameAnswer(
        frame_number=frame.scene.number,
        image=image,
        prompt=frame.scene.prompt,
        clip_score=_rounded(frame.clip_score),
        caption=frame.scene.caption,
        seed=frame.picture.seed,
        tries=frame.tries,
        skipped_steps=frame.picture.skipped_steps,
        follows=list(frame.follows),
    )


def reference_answer(reference: DrawnReference, image: str) -> ReferenceAnswer:
    """Describe one reference."""
    return ReferenceAnswer(
        character=reference.name,
        image=image,
        prompt=reference.request.prompt,
        model=reference.request.model,
        clip_score=_rounded(reference.clip_score),
        seed=reference.picture.seed,
    )


def image_file(drawn: Frame | DrawnReference, output_format: str) -> bytes:
    """Write a frame or a reference as a file that contains its generation parameters."""
    if isinstance(drawn, Frame) and drawn.upscaled is not None:
        return drawn.upscaled
    return encode_result(drawn.request, drawn.picture, OutputFormat(output_format), QUALITY)


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 4)
