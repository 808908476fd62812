"""What every scene shows: the story's beats and, if there are too few, the moments around them."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from storyboard.planning.beats import begins_with_verb, merged, words_of
from storyboard.planning.cast import Cast
from storyboard.planning.words import PRONOUNS, SAD

ADDED = ("intro", "ending", "approach", "reaction", "setting", "plan", "turning", "aftermath")
"""Moments that are added to stories with few beats, the most needed first."""
BEFORE, AFTER = ("intro", "setting", "approach", "plan"), ("reaction", "aftermath", "ending")

_ACTIONS: dict[str, tuple[str, ...]] = {
    "intro": ("{hero} standing", "{hero} waiting"),
    "setting": ("{hero} looking around", "{hero} walking"),
    "approach": ("{hero} setting out", "{hero} coming closer"),
    "plan": ("{hero} thinking of a plan", "{hero} watching closely"),
    "turning": ("{hero} at the decisive moment", "{hero} holding still"),
    "reaction": ("{hero} smiling", "{hero} laughing"),
    "aftermath": ("{hero} resting", "{hero} looking back"),
    "ending": ("{hero} walking into the distance", "{hero} looking into the distance"),
}
_TOWARDS: dict[str, tuple[str, ...]] = {
    "approach": ("{hero} approaching {other}", "{hero} greeting {other}"),
    "turning": ("{hero} facing {other}", "{hero} face to face with {other}"),
}
"""Actions when there is another character."""
_SAD_REACTIONS = ("{hero} in tears", "{hero} with bowed head")
_SHOTS = {
    "intro": "establishing shot",
    "setting": "wide shot",
    "approach": "full shot",
    "plan": "close-up",
    "turning": "extreme close-up",
    "reaction": "close-up",
    "aftermath": "medium shot",
    "ending": "long shot",
}
_BEAT_SHOTS = ("medium shot", "full shot", "close-up", "wide shot")

_OPENING = re.compile(
    r"(?:once upon a time|one (?:fine |dark |sunny )?(?:day|night|morning|evening)|long ago|at last|at first|in the "
    r"end|later|soon|finally|suddenly|meanwhile|next|afterwards|eventually|and|then|but|so|while|when|until|because|now|who|"
    r"there)\b,?\s+",
    re.IGNORECASE,
)
_BEING = re.compile(r"(?:was|were|is|are|lived|lives)\s+", re.IGNORECASE)


@dataclass(frozen=True)
class Moment:
    action: str
    """Who does what; the story's own words if no character could be found."""
    place: str
    """Such as "in the forest"; empty when the action says it, or nothing does."""
    caption: str
    shot: str
    beat: str
    """The part of the story to which it belongs."""
    is_beat: bool


def arc_of(beats: Sequence[str], count: int, cast: Cast, rng: random.Random) -> list[Moment]:
    """Return `count` moments that tell the beats in their order."""
    beats = merged(list(beats), count)
    kinds = list(_kinds(len(beats), count))
    places = _places(beats, cast)
    shots = iter([*_BEAT_SHOTS] * count)
    moments, current = [], -1
    for kind in kinds:
        if kind == "beat":
            current += 1
        at = min(max(current, 0), len(beats) - 1)
        shot = next(shots) if kind in ("beat", "again") else _SHOTS[kind]
        moments.append(_moment(kind, beats[at], places[at], shot, cast, rng))
    if kinds[0] == "beat":
        moments[0] = Moment(**{**vars(moments[0]), "shot": _SHOTS["intro"]})
    return moments


def _kinds(beats: int, count: int) -> Iterator[str]:
    added = ADDED[: count - beats]
    yield from (kind for kind in BEFORE if kind in added)
    yield from ["beat"] * (beats - 1)
    yield from (kind for kind in ("turning",) if kind in added)
    yield "beat"
    yield from ["again"] * (count - beats - len(added))
    yield from (kind for kind in AFTER if kind in added)


def _places(beats: Sequence[str], cast: Cast) -> list[str]:
    """Return where each beat happens: at the last place named so far, or else at the first place of the story."""
    current, found = next(iter(cast.places), ""), []
    for beat in beats:
        current = cast.place_in(beat) or current
        found.append(current)
    return found


def _moment(kind: str, beat: str, place: str, shot: str, cast: Cast, rng: random.Random) -> Moment:
    if kind in ("beat", "again") or not cast.hero:
        action = acted(beat, cast)
        where = "" if cast.place_in(action) else place
        return Moment(action, where, beat, shot, beat, kind == "beat")
    other = cast.other_in(beat)
    actions = _TOWARDS[kind] if other and kind in _TOWARDS else _ACTIONS[kind]
    if kind == "reaction" and SAD.intersection(words_of(beat)):
        actions = _SAD_REACTIONS
    action = rng.choice(actions).format(hero=cast.hero, other=other)
    return Moment(action, place, f"{action} {place}".strip(), shot, beat, False)


def acted(beat: str, cast: Cast) -> str:
    """Return a beat as a sentence about the hero, who is in every picture."""
    text = beat
    while found := _OPENING.match(text):
        text = text[found.end() :]
    if not cast.hero or not words_of(text):
        return text or beat
    if cast.is_hero_in(text):
        return _BEING.sub("", text, count=1) if _BEING.match(text) else text
    first, _, rest = text.partition(" ")
    if first.lower() in PRONOUNS and rest:
        return f"{cast.hero} {rest}"
    return f"{cast.hero} {text}" if begins_with_verb(words_of(text)) else f"{text}, with {cast.hero}"
