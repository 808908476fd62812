"""The built-in planner: six to ten scenes of any story, with its people and places, in words the model knows."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.catalogue.catalogue import full_catalogue, unknown_words
from models.catalogue.entry import Entry
from storyboard.planning.arc import acted
from storyboard.planning.beats import beats_of, cleaned
from storyboard.planning.builtin import BuiltinPlanner, scenes_of
from storyboard.planning.cast import cast_of
from storyboard.planning.vocabulary import vocabulary_of
from storyboard.scenes import MAX_FRAMES, MIN_FRAMES, PlanRequest, Scene

SDXL, MINIATURE = (full_catalogue(None).get(name) for name in ("sdxl", "miniature"))
ALDAR = "Aldar Kose tricks a wealthy merchant and steals his horse"

WORDS = (
    "fox",
    "the",
    "a",
    "Aida",
    "castle",
    "and",
    ",",
    ".",
    "finds",
    "forest",
    "市场",
    "🦊",
    "king's",
    "key",
    "in",
    "он",
)
stories = st.text(min_size=10, max_size=500)
counts = st.none() | st.integers(MIN_FRAMES, MAX_FRAMES)
word = st.sampled_from(WORDS)
tales = st.lists(word, min_size=10, max_size=90).map(" ".join)


def scenes(story: str, count: int | None = None, entry: Entry = SDXL, seed: int = 42, trigger: str = "") -> list[Scene]:
    return scenes_of(PlanRequest(story, count, 0.7, seed, entry, trigger))


def prompts(story: str, count: int | None = None, entry: Entry = SDXL) -> list[str]:
    return [scene.prompt for scene in scenes(story, count, entry)]


@given(stories | tales, counts, st.integers(0, 2**63 - 1))
@example("horse " * 80, None, 1)
@example("a" * 500, 6, 1)
@example("🦊🏰🗝️" * 100, 7, 1)
@example("👩‍👩‍👧‍👦" * 60, None, 1)
@example("李明在市场上偷了一匹马然后骑马穿过草原" * 20, None, 1)
@example("\x00\x01\u200b \t\n" * 3, None, 1)
@example("." * 10, None, 1)
@example("and then and then and then", None, 1)
@example("He. She. It. They. We. I. You. He. She. It. Who.", None, 1)
def test_any_story_has_six_to_ten_scenes_and_no_two_are_the_same(story: str, count: int | None, seed: int) -> None:
    for entry in (SDXL, MINIATURE):
        made = scenes(story, count, entry, seed)
        assert [scene.number for scene in made] == list(range(1, len(made) + 1))
        assert count in (None, len(made))
        assert MIN_FRAMES <= len(made) <= MAX_FRAMES
        assert len({scene.prompt for scene in made}) == len(made)
        assert all(scene.prompt.strip() and scene.caption.strip() for scene in made)
        assert made == scenes(story, count, entry, seed)


@given(stories | tales, counts)
def test_a_model_with_a_vocabulary_is_asked_for_what_it_knows(story: str, count: int | None) -> None:
    vocabulary = vocabulary_of(MINIATURE)
    assert vocabulary is not None
    last = ""
    for prompt in prompts(story, count, MINIATURE):
        assert unknown_words(MINIATURE, prompt) == []
        assert set(prompt.replace(",", "").split()) & set(vocabulary.concepts)
        (colour,) = set(prompt.replace(",", "").split()) & set(vocabulary.colours)
        assert colour != last
        last = colour


@given(tales)
def test_the_story_is_told_in_its_order_and_its_own_words(story: str) -> None:
    text, at = cleaned(story), 0
    for beat in beats_of(text):
        at = text.index(beat, at) + len(beat)


@pytest.mark.parametrize("seen_as_one", ["👩‍👩‍👧‍👦", "षि", "❤️", "e\u0301"])
@pytest.mark.parametrize("shift", range(8))
def test_no_cut_goes_through_what_is_seen_as_one_character(seen_as_one: str, shift: int) -> None:
    beats = beats_of("x" * shift + seen_as_one * 61)
    assert len(beats) > 1
    assert all(beat.endswith(seen_as_one) for beat in beats)


def test_another_seed_tells_the_story_in_another_way() -> None:
    assert scenes(ALDAR, seed=1) != scenes(ALDAR, seed=2)


async def test_the_plan_names_its_planner() -> None:
    plan = await BuiltinPlanner().plan(PlanRequest(ALDAR, 8, 0.0, 42, SDXL))
    assert plan.planner == "builtin"
    assert list(plan.scenes) == scenes(ALDAR, 8)


def test_what_the_documents_story_becomes() -> None:
    assert prompts(ALDAR, 8) == [
        "Aldar Kose standing in the marketplace, establishing shot, front-facing",
        "Aldar Kose walking in the marketplace, wide shot, from the side",
        "Aldar Kose approaching a wealthy merchant in the marketplace, full shot, from behind",
        "Aldar Kose watching closely in the marketplace, close-up, three-quarter view",
        "Aldar Kose tricks a wealthy merchant in the marketplace, medium shot, low angle",
        "Aldar Kose steals his horse in the marketplace, full shot, high angle",
        "Aldar Kose smiling in the marketplace, close-up, front-facing",
        "Aldar Kose looking into the distance in the marketplace, long shot, from the side",
    ]


def test_a_fox_is_drawn_as_a_fox_and_its_key_as_a_key() -> None:
    story = "A little red fox finds a key in the forest, opens the castle and becomes king."
    made = scenes(story, 6, MINIATURE)
    assert [scene.caption for scene in made][2:5] == [
        "A little red fox finds a key in the forest",
        "opens the castle",
        "becomes king",
    ]
    things = [scene.prompt.split()[1] for scene in made]
    assert things == ["fox", "fox", "key", "fox", "fox", "fox"]


@pytest.mark.parametrize(
    ("story", "beats"),
    [
        (
            "Mr. Fox buys apples, pears, and plums. He eats them!",
            ["Mr. Fox buys apples, pears, and plums", "He eats them"],
        ),
        ("李明在市场上偷了一匹马，然后骑马穿过草原。", ["李明在市场上偷了一匹马", "然后骑马穿过草原"]),
        ("Жил-был старик у моря; он ловил рыбу", ["Жил-был старик у моря", "он ловил рыбу"]),
        (
            "The fisherman sails out, fights a marlin, and returns while the village sleeps",
            ["The fisherman sails out", "fights a marlin", "and returns", "the village sleeps"],
        ),
        ("A boy and a girl play until the rain comes", ["A boy and a girl play", "the rain comes"]),
    ],
)
def test_a_beat_is_what_happens(story: str, beats: list[str]) -> None:
    assert beats_of(cleaned(story)) == beats


@pytest.mark.parametrize(
    ("story", "hero", "others", "places"),
    [
        (ALDAR, "Aldar Kose", ("a wealthy merchant", "his horse"), ("in the marketplace",)),
        ("A cat juggles lemons near the big old castle", "the cat", (), ("in the big old castle",)),
        ("THE FOX FINDS A KEY IN THE FOREST", "the fox", (), ("in the forest",)),
        ("Suddenly a dragon appears above the town. Children flee.", "the dragon", ("children",), ("in the town",)),
        ("In Almaty, a clever girl named Aida meets a robot.", "Aida", ("a robot",), ("in Almaty",)),
        ("李明在市场上偷了一匹马，然后骑马穿过草原。", "", (), ()),
    ],
)
def test_who_and_where(story: str, hero: str, others: tuple[str, ...], places: tuple[str, ...]) -> None:
    cast = cast_of(story)
    assert (cast.hero, cast.others, cast.places) == (hero, others, places)


def test_the_hero_is_in_every_prompt() -> None:
    story = "Aida builds a robot. It dances! The town laughs, but then it rains. Finally she goes home with her robot"
    made = prompts(story, 10)
    assert all("Aida" in prompt for prompt in made)


@pytest.mark.parametrize(
    ("beat", "action"),
    [
        ("and then he ran home", "Aida ran home"),
        ("juggles the lemons", "Aida juggles the lemons"),
        ("Suddenly, the rain came", "the rain came, with Aida"),
        ("Once upon a time there was a girl named Aida", "a girl named Aida"),
    ],
)
def test_a_beat_is_said_of_the_hero(beat: str, action: str) -> None:
    assert acted(beat, cast_of("Aida runs home and Aida sleeps")) == action


def test_a_trigger_stands_first_and_plays_the_hero() -> None:
    assert all(scene.prompt.startswith("kumo, Aldar Kose") for scene in scenes(ALDAR, trigger="kumo"))
    made = scenes("A fox finds a key in the forest", entry=MINIATURE, trigger="kumo")
    assert all(scene.prompt.startswith("kumo, ") and "background" in scene.prompt for scene in made)


def test_whoever_cannot_be_drawn_is_always_played_by_the_same() -> None:
    def actor(story: str) -> str:
        return scenes(story, entry=MINIATURE)[0].prompt.split()[1]

    assert actor("The wolf runs across the steppe") == actor("A wolf sleeps in the forest, alone") == "dog"
    assert actor("Aldar Kose rides his horse") == actor("Aldar Kose sleeps by the river")
