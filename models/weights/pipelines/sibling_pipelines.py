"""Builds pipelines of other tasks over the weights of a loaded one."""

from __future__ import annotations

import inspect
from typing import Any

from diffusers import DiffusionPipeline


def sibling(pipeline: DiffusionPipeline, pipeline_class: type[DiffusionPipeline], **changed: Any) -> DiffusionPipeline:
    """Build a pipeline of another class over the components and settings of one, except for those in `changed`.

    diffusers' own `from_pipe` casts all of the shared weights to one dtype: by default to float32, and otherwise even
    an autoencoder that is in float32 on purpose.
    """
    accepted = inspect.signature(pipeline_class.__init__).parameters
    given = {**pipeline.config, **pipeline.components, **changed}
    return pipeline_class(**{name: value for name, value in given.items() if name in accepted})
