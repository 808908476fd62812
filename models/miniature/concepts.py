"""What the miniature can draw: 48 concepts on ten background colours, and the pairs it never saw."""

import random

Pair = tuple[str, str]  # (concept, colour)

# Concept -> code points of its emoji: the file name in the emoji package.
CONCEPTS: dict[str, str] = {
    "apple": "1f34e",
    "lemon": "1f34b",
    "banana": "1f34c",
    "watermelon": "1f349",
    "strawberry": "1f353",
    "cherries": "1f352",
    "carrot": "1f955",
    "pizza": "1f355",
    "donut": "1f369",
    "cupcake": "1f9c1",
    "mushroom": "1f344",
    "cactus": "1f335",
    "tree": "1f333",
    "sunflower": "1f33b",
    "tulip": "1f337",
    "cat": "1f431",
    "dog": "1f436",
    "fox": "1f98a",
    "panda": "1f43c",
    "frog": "1f438",
    "penguin": "1f427",
    "pig": "1f437",
    "owl": "1f989",
    "turtle": "1f422",
    "fish": "1f41f",
    "butterfly": "1f98b",
    "ladybug": "1f41e",
    "whale": "1f433",
    "duck": "1f986",
    "star": "2b50",
    "heart": "2764-fe0f",
    "moon": "1f319",
    "rainbow": "1f308",
    "snowman": "26c4",
    "car": "1f697",
    "rocket": "1f680",
    "sailboat": "26f5",
    "airplane": "2708-fe0f",
    "house": "1f3e0",
    "castle": "1f3f0",
    "umbrella": "2614",
    "guitar": "1f3b8",
    "balloon": "1f388",
    "gift": "1f381",
    "crown": "1f451",
    "key": "1f511",
    "teapot": "1fad6",
    "robot": "1f916",
}

# Colour -> sRGB of the background before shading.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (215, 25, 30),
    "orange": (250, 130, 10),
    "yellow": (250, 215, 20),
    "green": (40, 145, 60),
    "blue": (15, 80, 215),
    "purple": (100, 30, 165),
    "pink": (250, 150, 195),
    "white": (242, 242, 242),
    "black": (14, 14, 16),
    "grey": (128, 128, 130),
}

HELD_OUT_SHARE = 0.15
HELD_OUT_SEED = 2026


def all_pairs() -> list[Pair]:
    """Every (concept, colour) pair, in a fixed order."""
    return [(concept, colour) for concept in CONCEPTS for colour in COLOURS]


def held_out_pairs() -> list[Pair]:
    """The pairs that no training stage ever sees."""
    pairs = all_pairs()
    return sorted(random.Random(HELD_OUT_SEED).sample(pairs, round(HELD_OUT_SHARE * len(pairs))))


def training_pairs() -> list[Pair]:
    """Every pair that is not held out."""
    held_out = set(held_out_pairs())
    return [pair for pair in all_pairs() if pair not in held_out]
