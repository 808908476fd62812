"""Who a story is about, who else is in it, and where it happens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from storyboard.planning.beats import bare, is_verb, words_of
from storyboard.planning.words import (
    ANIMALS,
    CONJUNCTIONS,
    DETERMINERS,
    HOMES,
    OPENERS,
    PEOPLE,
    PLACES,
    PREPOSITIONS,
    PRONOUNS,
    listed,
)

_INSIDE = listed("in at near inside across through over into around from to")
"""Before a name, these make it a place."""
_NO_NAME = OPENERS | DETERMINERS | PRONOUNS | PREPOSITIONS | CONJUNCTIONS | {"i'm", "not", "no", "every", "some", "all"}
_TITLES = ("Mr.", "Mrs.", "Ms.", "Dr.", "St.")
_MAX_PHRASE = 5


@dataclass(frozen=True)
class Cast:
    hero: str
    """The hero's name in every scene; empty when nobody could be found."""
    others: tuple[str, ...]
    places: tuple[str, ...]
    """Each with its preposition, such as "in the forest"."""

    def is_hero_in(self, text: str) -> bool:
        """Whether a text names the hero, perhaps by a part of the name."""
        names = [word for word in words_of(self.hero) if word not in DETERMINERS]
        shown = {word.removesuffix("'s").removesuffix("’s") for word in words_of(text)}
        return bool(shown.intersection(names[-1:] if self.hero.islower() else names))

    def other_in(self, text: str) -> str:
        """Return the first of the others whom a text names, or an empty string."""
        return next((other for other in self.others if other.lower() in text.lower()), "")

    def place_in(self, text: str) -> str:
        """Return the last place that a text names, or an empty string."""
        return next((place for place in reversed(places_in(text)) if place), "")


def cast_of(story: str) -> Cast:
    """Find the cast of a cleaned story."""
    names, phrases = _names(story), _phrases(story)
    living = [phrase for phrase in phrases if _head(phrase) in PEOPLE | ANIMALS]
    figures = [*names, *living] or phrases
    hero = figures[0] if figures else ""
    known = set(words_of(hero)) - DETERMINERS
    others = []
    for figure in [*names, *living]:
        if _head(figure.lower()) not in known:
            others.append(figure)
            known.add(_head(figure.lower()))
    return Cast(hero=definite(hero), others=tuple(others), places=tuple(places_in(story)) or _home(story))


def definite(phrase: str) -> str:
    """Return a figure as it is mentioned again: "a boy" becomes "the boy"."""
    first, _, rest = phrase.partition(" ")
    return f"the {rest}" if rest and first.lower() in ("a", "an") else phrase


def places_in(text: str) -> list[str]:
    """Return the places of a text, in order, each with its preposition."""
    tokens = (text.lower() if text.isupper() else text).split()
    found = []
    for at, token in enumerate(tokens):
        before = bare(tokens[at - 1].lower()) if at else ""
        word = bare(token.lower())
        if word in PLACES and before and not is_verb(word):
            found.append(f"{PLACES[word]} {definite(_phrase_before(tokens, at))}")
        elif bare(token)[:1].isupper() and before in _INSIDE and word not in _NO_NAME:
            found.append(f"{'in' if before in ('from', 'to', 'into') else before} {_name_at(tokens, at)}")
    return list(dict.fromkeys(found))


def _phrase_before(tokens: list[str], at: int) -> str:
    """Return the noun at `at` with its adjectives and its article, if it has one."""
    first = at
    while first > 0 and at - first < _MAX_PHRASE - 2 and _describes(tokens[first - 1]):
        first -= 1
    start = first - 1 if first and tokens[first - 1].lower() in DETERMINERS else first
    phrase = " ".join([*tokens[start:at], bare(tokens[at])])
    return phrase if start < first else f"the {phrase}"


def _describes(token: str) -> bool:
    word = token.lower()
    return bare(word) == word and word not in _NO_NAME and not is_verb(word) and word not in PEOPLE | ANIMALS


def _name_at(tokens: list[str], at: int) -> str:
    name = [tokens[at]]
    while (
        (name[-1] == bare(name[-1]) or name[-1] in _TITLES)
        and at + len(name) < len(tokens)
        and tokens[at + len(name)][:1].isupper()
    ):
        name.append(tokens[at + len(name)])
    return bare(" ".join(name)).removesuffix("'s").removesuffix("’s")


def _names(story: str) -> list[str]:
    """Return a story's proper names that are not places, in order."""
    if story.isupper():
        return []
    tokens = story.split()
    places = " ".join(places_in(story))
    found, at = [], 0
    while at < len(tokens):
        name = _name_at(tokens, at)
        if _is_name(tokens, at, name) and name not in places:
            found.append(name)
            at += len(name.split())
        else:
            at += 1
    return list(dict.fromkeys(found))


def _is_name(tokens: list[str], at: int, name: str) -> bool:
    word = bare(tokens[at])
    if not word[:1].isupper() or word.lower() in _NO_NAME or word.lower().endswith("ly"):
        return False
    begins = at == 0 or tokens[at - 1][-1] in '.!?…:;"”»。！？'
    if not begins or " " in name:
        return True
    if word.lower() in PEOPLE | ANIMALS:
        return False
    following = bare(tokens[at + 1].lower()) if at + 1 < len(tokens) else ""
    again = any(bare(token) == word for token in [*tokens[:at], *tokens[at + 1 :]])
    return again or (not is_verb(word.lower()) and (is_verb(following) or tokens[at] != word.removesuffix("'s")))


def _phrases(story: str) -> list[str]:
    """Return the nouns after articles, and the people and animals without one, each with its adjectives."""
    return list(dict.fromkeys(_walk(story.lower().split())))


def _walk(tokens: list[str]) -> Iterator[str]:
    at = 0
    while at < len(tokens):
        if tokens[at] in DETERMINERS and (phrase := _phrase_after(tokens, at)):
            yield phrase
            at += len(phrase.split())
        else:
            if bare(tokens[at]) in PEOPLE | ANIMALS:
                yield bare(tokens[at])
            at += 1


def _phrase_after(tokens: list[str], at: int) -> str:
    """Return an article and its noun phrase, which ends at a verb, a preposition or punctuation."""
    words = [tokens[at]]
    for token in tokens[at + 1 : at + _MAX_PHRASE]:
        word = bare(token)
        known = len(words) > 1 and (is_verb(word) or _is_guessed_verb(tokens[at], word))
        if not word or known or word in _NO_NAME:
            break
        words.append(word)
        if token != word:
            break
    return " ".join(words) if len(words) > 1 else ""


def _is_guessed_verb(article: str, word: str) -> bool:
    """Guess that a word in s after a singular noun is its verb."""
    return article in ("a", "an") and word.endswith("s") and not word.endswith(("ss", "us", "is"))


def _head(phrase: str) -> str:
    return phrase.rsplit(" ", 1)[-1].removesuffix("'s").removesuffix("’s")


def _home(story: str) -> tuple[str, ...]:
    """Return a typical place for the people and animals of a story."""
    return tuple(dict.fromkeys(HOMES[word] for word in words_of(story) if word in HOMES))[:1]
