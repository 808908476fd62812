"""Captions for (concept, colour) pairs, plain and wrapped in the words of a story."""

import random

from .concepts import COLOURS, CONCEPTS

PLURALS = {"cherries"}

TEMPLATES = (
    "{a} {concept} on {a_colour} {colour} background",
    "{concept}, {colour} background",
    "{a} {concept} in front of {a_colour} {colour} background",
    "{colour} background with {a} {concept}",
    "a picture of {a} {concept} on {colour}",
    "the {concept} on a {colour} background",
)

OPENINGS = (
    "a cute",
    "a small",
    "a little",
    "a photo of",
    "a drawing of",
    "an illustration of",
    "a scene with",
    "once upon a time",
    "one day",
    "then",
    "in the morning",
    "at night",
    "scene one",
    "the story of",
)

ENDINGS = (
    "detailed",
    "high quality",
    "best quality",
    "soft light",
    "sharp focus",
    "simple",
    "3d render",
    "cartoon style",
    "walks home",
    "is happy",
    "looks at the sky",
    "finds a friend",
    "goes to sleep",
    "waits in the garden",
    "children book illustration",
    "glossy",
    "masterpiece",
    "centered",
)


def article(word: str) -> str:
    """The indefinite article of a word; empty for a plural."""
    if word in PLURALS:
        return ""
    return "an" if word[0] in "aeiou" else "a"


def plain_caption(concept: str, colour: str, template: int) -> str:
    """The caption of a pair in one of the ``TEMPLATES``."""
    text = TEMPLATES[template].format(a=article(concept), concept=concept, a_colour=article(colour), colour=colour)
    return " ".join(text.split())


def random_caption(concept: str, colour: str, rng: random.Random, wrap: float = 0.4) -> str:
    """A random caption; with probability ``wrap``, filler words stand before or after it.

    The filler teaches the text encoder to find the pair in a longer prompt.
    """
    text = plain_caption(concept, colour, rng.randrange(len(TEMPLATES)))
    return text if rng.random() >= wrap else wrapped(text, rng)


def open_caption(colour: str, rng: random.Random) -> str:
    """A random caption that names only the background."""
    plain = (f"on {article(colour)} {colour} background", f"{colour} background", f"a picture on {colour}")
    subject = plain_caption("character", colour, rng.randrange(len(TEMPLATES)))
    text = subject if rng.random() < 0.4 else rng.choice(plain)
    return text if rng.random() < 0.6 else wrapped(text, rng)


def wrapped(text: str, rng: random.Random) -> str:
    """A caption with filler words before it, after it or both."""
    before, after = rng.choice([(True, False), (False, True), (True, True)])
    if before:
        text = f"{rng.choice(OPENINGS)}, {text}"
    return f"{text}, {rng.choice(ENDINGS)}" if after else text


def words() -> list[str]:
    """Every word that a caption can contain, sorted."""
    texts = [plain_caption(concept, "red", 0) for concept in CONCEPTS]
    texts += [*TEMPLATES, *OPENINGS, *ENDINGS, *COLOURS]
    found = {word.strip(",") for text in texts for word in text.split() if "{" not in word}
    return sorted(found - {""})
