"""Pipelines of other tasks over the weights of one that is loaded."""

from __future__ import annotations

import inspect
from typing import Any

from diffusers import DiffusionPipeline


def sibling(pipeline: DiffusionPipeline, pipeline_class: type[DiffusionPipeline], **changed: Any) -> DiffusionPipeline:
    """Build a pipeline of another class over the components and settings of one, with those of `changed` instead.

    diffusers' own `from_pipe` casts all weights, which the pipelines share, to one dtype: to float32 by
    default, and otherwise even an autoencoder that was left in float32 on purpose.
    """
    accepted = inspect.signature(pipeline_class.__init__).parameters
    given = {**pipeline.config, **pipeline.components, **changed}
    return pipeline_class(**{name: value for name, value in given.items() if name in accepted})
