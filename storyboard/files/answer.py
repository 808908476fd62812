"""A storyboard as data: the document's fields, then ours."""

from __future__ import annotations

from base64 import b64encode

from pydantic import BaseModel, ConfigDict, Field

from gateway.media.encoding import OutputFormat, encode_result
from storyboard.frames import Frame, Storyboard

QUALITY = 90


class FrameAnswer(BaseModel):
    frame_number: int = Field(description="1 is the first.")
    image: str = Field(description="Base64; PNG, unless the story asked for another format.")
    prompt: str = Field(description="What the model was asked for.")
    clip_score: float | None = Field(description="Cosine of picture and prompt by CLIP; null when none could look.")
    caption: str = Field(description="The part of the story that it shows.")
    seed: int = Field(description="Of the try that was kept.")
    tries: int = Field(description="Times that it was generated.")
    skipped_steps: int = Field(description="Denoising steps of that try that were predicted instead of computed.")


class StoryboardAnswer(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    success: bool = Field(description="Whether all frames are there; if not, `error` says why.")
    story_prompt: str
    num_frames: int
    frames: list[FrameAnswer]
    generation_time_seconds: float
    mode: str = Field(description="simple or ref_guided.")
    planner: str = Field(description="What made the scenes: builtin, a language model, or `given`, by the caller.")
    model: str
    seed: int
    error: str | None = None
    warnings: list[str] = []


def answer_of(board: Storyboard) -> StoryboardAnswer:
    """Encode a storyboard, which keeps a thread busy for a while."""
    files = (frame_file(frame, board.story.output_format) for frame in board.frames)
    return answer_with(board, [b64encode(file).decode() for file in files])


def answer_with(board: Storyboard, images: list[str]) -> StoryboardAnswer:
    """Describe a storyboard; `images` stand for its frames, in base64 or as names of files."""
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
    )


def frame_answer(frame: Frame, image: str) -> FrameAnswer:
    """Describe one frame."""
    return FrameAnswer(
        frame_number=frame.scene.number,
        image=image,
        prompt=frame.scene.prompt,
        clip_score=None if frame.clip_score is None else round(frame.clip_score, 4),
        caption=frame.scene.caption,
        seed=frame.picture.seed,
        tries=frame.tries,
        skipped_steps=frame.picture.skipped_steps,
    )


def frame_file(frame: Frame, output_format: str) -> bytes:
    """Write a frame as a file that carries the parameters that it was generated with."""
    if frame.upscaled is not None:
        return frame.upscaled
    return encode_result(frame.request, frame.picture, OutputFormat(output_format), QUALITY)
