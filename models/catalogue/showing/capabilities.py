"""What a model can do, as data for callers: `GET /models` and `python -m models`."""

from __future__ import annotations

from typing import Any

from core.generation.camera import CameraMove
from core.generation.request import Task
from models.catalogue.entry import Entry
from models.catalogue.limits import TaskSettings
from models.catalogue.resolving.animation_videos import FOLLOWED, REPLACED_IN
from models.catalogue.resolving.tuning import tunable

_SHOWN = {"id", "title", "family", "licence", "gated", "memory_gib"}


def capabilities(entry: Entry) -> dict[str, Any]:
    """Return what requests to a model may contain, in JSON types."""
    family = entry.family_spec
    return {
        **entry.model_dump(mode="json", include=_SHOWN),
        "memory": entry.memory.model_dump(mode="json", exclude_defaults=True),
        "tasks": {
            task.value: {**_task(task, settings), "tuning": sorted(tunable(entry, task))}
            for task, settings in entry.tasks.items()
        },
        "schedulers": list(family.schedulers.schedules),
        "sigma_schedules": {name: list(taken) for name, taken in family.schedulers.schedules.items() if taken},
        "negative_prompt": entry.takes_negative_prompt,
        "sound": family.vocoder is not None,
        "transparent": family.transparent,
        "layered": family.layered,
        "step_cache": family.denoises_in_steps,
        "loras": {name: lora.description for name, lora in entry.choosable_loras.items()},
        "lora_triggers": {name: lora.trigger for name, lora in entry.choosable_loras.items() if lora.trigger},
        "embeddings": {token: embedding.description for token, embedding in entry.embeddings.items()},
        "controlnets": sorted(entry.controlnets),
        "controlled_tasks": [task.value for task in family.controlled if task in entry.tasks and entry.controlnets],
        "ip_adapter": entry.ip_adapter is not None,
        "last_image": entry.last_image and Task.IMAGE_TO_VIDEO in entry.tasks,
        "animation": _animation(entry),
        "hires": {Task.TEXT_TO_IMAGE, Task.IMAGE_TO_IMAGE} <= entry.tasks.keys(),
        "token_opt": entry.token_opt and entry.token_opt.model_dump(include={"iterations", "max_iterations"}),
        "camera": [move.value for move in CameraMove] if entry.camera else [],
        "vocabulary": None if entry.words is None else sorted(entry.words),
    }


def _animation(entry: Entry) -> dict[str, Any] | None:
    """Return the videos that animate a figure; None for a model that takes none."""
    if entry.family_spec.animation is None:
        return None
    most = entry.tasks[Task.IMAGE_TO_VIDEO].limits.max_frames
    return {"needed": list(FOLLOWED), "together": list(REPLACED_IN), "max_frames": most}


def _task(task: Task, settings: TaskSettings) -> dict[str, Any]:
    """Return the defaults and limits of one task, without those that do not apply to it."""
    useless = {
        "strength": not task.takes_strength,
        "num_frames": not task.is_video,
        "fps": not task.is_video,
        "max_sequence_length": settings.defaults.max_sequence_length is None,
        "max_frames": not task.is_video,
        "max_images": task is not Task.EDIT,
    }
    left_out = {field for field, is_useless in useless.items() if is_useless}
    return settings.model_dump(mode="json", exclude={"defaults": left_out, "limits": left_out})
