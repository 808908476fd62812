"""Which planner a server uses."""

from __future__ import annotations

from settings.sections.stories import StoryOptions
from storyboard.planning.builtin import BuiltinPlanner
from storyboard.scenes import Planner


def planner_for(options: StoryOptions) -> Planner:
    """Return the language model when the operator named an endpoint or a key, else the built-in planner."""
    if not options.asks_language_model:
        return BuiltinPlanner()
    # Imported here, since the client takes a second to import.
    from storyboard.planning.llm import LanguageModelPlanner

    return LanguageModelPlanner(options)
