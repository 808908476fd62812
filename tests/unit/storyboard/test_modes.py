"""Which mode a story gets on which model, what it refuses, and who is in a frame."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image

from core.errors import InvalidRequest, UnknownModel
from models.catalogue.catalogue import full_catalogue
from settings import Settings
from storyboard.characters import Mode, named_in
from storyboard.modes import drawer_of, mode_of
from storyboard.references import References
from storyboard.resolved_story import default_reference_scale, resolve_story
from storyboard.scenes import Scene
from storyboard.scoring.scorers import Scorers
from storyboard.story import Story

CATALOGUE = full_catalogue(None)
STORY = "A fox finds a lantern in the snow"
IMAGE = Image.new("RGB", (8, 8))
FOX: dict[str, Any] = {"characters": [{"name": "fox"}]}
PLAIN, ADAPTED, BOTH, ONLY_EDITS = "miniature-dit", "miniature", "flux2-klein-4b", "flux-kontext"


def story(**fields: Any) -> Story:
    return Story.model_validate({"prompt": STORY, **fields})


async def uncompared(*_: object) -> float:
    raise AssertionError("no frame is there yet")


@pytest.mark.parametrize(
    ("model", "fields", "mode"),
    [
        (ADAPTED, {}, Mode.SIMPLE),
        (BOTH, {}, Mode.SIMPLE),
        (ONLY_EDITS, {}, Mode.EDIT),
        (ADAPTED, {"use_ref_guided": True}, Mode.REF_GUIDED),
        (ADAPTED, {"mode": "ref_guided"}, Mode.REF_GUIDED),
        (ADAPTED, {"reference_image": IMAGE}, Mode.REF_GUIDED),
        (BOTH, {"use_ref_guided": True}, Mode.EDIT),
        (BOTH, {"reference_image": IMAGE}, Mode.EDIT),
        (BOTH, {"images": (IMAGE,)}, Mode.EDIT),
        (BOTH, FOX, Mode.EDIT),
        (BOTH, {"characters": "fox"}, Mode.EDIT),
        (BOTH, {"mode": "edit"}, Mode.EDIT),
    ],
)
def test_the_mode_follows_from_the_story_and_the_model(model: str, fields: dict[str, Any], mode: Mode) -> None:
    assert mode_of(story(**fields), CATALOGUE.get(model)) is mode


@pytest.mark.parametrize(
    ("model", "fields", "refusal"),
    [
        (PLAIN, {"use_ref_guided": True}, "use_ref_guided: miniature-dit has no IP-Adapter"),
        (PLAIN, {"mode": "ref_guided"}, "mode: miniature-dit has no IP-Adapter"),
        (ADAPTED, {"mode": "edit"}, "mode: miniature cannot edit images"),
        (ADAPTED, FOX, "characters: miniature cannot edit images"),
        (ADAPTED, {"images": (IMAGE,)}, "images: miniature cannot edit images"),
        (ADAPTED, {"mode": "ref_guided", **FOX}, "characters: only mode edit"),
        (BOTH, {"mode": "simple", **FOX}, "characters: mode simple follows no reference"),
        (BOTH, {"mode": "simple", "use_ref_guided": True}, "use_ref_guided: mode simple follows no reference"),
        (BOTH, {"images": (IMAGE,), "reference_image": IMAGE}, "reference_image: cannot be combined with images"),
        (BOTH, {"images": (IMAGE, IMAGE), **FOX}, "images: are 2, for 1 characters"),
        (BOTH, {"characters": [{"name": "fox"}, {"name": "fox"}]}, "characters: 'fox' is given 2 times"),
        (
            BOTH,
            {**FOX, "scenes": [{"prompt": "snow", "characters": ["owl"]}] * 6},
            r"scenes\.0\.characters: 'owl' is none of the story's characters",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(model: str, fields: dict[str, Any], refusal: str) -> None:
    with pytest.raises(InvalidRequest, match=refusal):
        mode_of(story(**fields), CATALOGUE.get(model))


def test_references_are_drawn_by_the_model_itself_or_one_that_can() -> None:
    served = CATALOGUE.only(["miniature", BOTH, ONLY_EDITS])
    assert drawer_of(story(), served.get(BOTH), served).id == BOTH
    assert drawer_of(story(), served.get(ONLY_EDITS), served).id == "miniature"
    assert drawer_of(story(reference_model=BOTH), served.get(ONLY_EDITS), served).id == BOTH
    with pytest.raises(InvalidRequest, match="reference_model: flux-kontext draws nothing from text"):
        drawer_of(story(reference_model=ONLY_EDITS), served.get(BOTH), served)
    with pytest.raises(UnknownModel):
        drawer_of(story(reference_model="nobody"), served.get(BOTH), served)
    with pytest.raises(InvalidRequest, match="images: flux-kontext only edits images"):
        drawer_of(story(), served.get(ONLY_EDITS), CATALOGUE.only([ONLY_EDITS]))


@pytest.mark.parametrize(
    ("model", "fields", "hints"),
    [
        (BOTH, FOX, ("use_ref_guided",)),
        (BOTH, {"images": (IMAGE,)}, ("use_ref_guided",)),
        (ADAPTED, {"reference_image": IMAGE}, ("use_ref_guided",)),
        (BOTH, {}, ()),
        (ADAPTED, {}, ()),
    ],
)
def test_the_first_frame_is_no_reference_beside_others_and_the_story_says_so(
    model: str, fields: dict[str, Any], hints: tuple[str, ...]
) -> None:
    settings = Settings()
    scorers = Scorers(settings, uncompared)
    resolved = resolve_story(
        story(model=model, use_ref_guided=True, **fields), settings, CATALOGUE.only([model]), scorers
    )
    assert tuple(hint.partition(" is ignored")[0] for hint in resolved.hints) == hints
    assert resolved.follows_first_frame is (not hints)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Aldar rides across the steppe", ("Aldar Kose",)),
        ("ALDAR'S hat, and the Old Horse", ("Aldar Kose", "the old horse")),
        ("a horse, and the old man", ()),
        ("Kosec and aldarian", ()),
    ],
)
def test_frames_have_whom_their_texts_name(text: str, found: tuple[str, ...]) -> None:
    assert named_in(text, ("Aldar Kose", "the old horse")) == found


def test_a_frame_follows_its_characters_as_far_as_the_model_takes_them() -> None:
    images = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    references = References(tuple(zip(("fox", "owl", "cat"), images, strict=True)))
    chosen = references.for_scene(Scene(1, "", "", ("owl", "cat")), 4)
    assert (chosen.images, chosen.hints) == ((images[1], images[2]), ())
    assert (chosen.names, chosen.legend) == (("owl", "cat"), "Image 1 is owl, image 2 is cat. ")
    chosen = references.for_scene(Scene(1, "", "", ("fox", "owl", "cat")), 2)
    assert chosen.images == (images[0], images[1])
    assert chosen.hints == ("characters: the model takes 2 images, so it does not see cat",)
    chosen = references.for_scene(Scene(1, "", ""), 4)
    assert (chosen.images, chosen.legend) == ((images[0],), "")
    assert chosen.hints == ("characters: the scene names none of them, so it follows fox",)
    assert References().for_scene(Scene(1, "", ""), 4).images == ()


@pytest.mark.parametrize(
    ("text", "names", "found"),
    [
        ("Mr. Badger sleeps", ("Mr. Fox", "Mr. Badger"), ("Mr. Badger",)),
        ("Umai rides home", ("Aldar Kose", "Umai Kose"), ("Umai Kose",)),
        ("Aldar walks into the forest", ("Aldar", "The Merchant"), ("Aldar",)),
        ("小红在森林里", ("小红", "小明"), ("小红",)),
        ("granny's cat sleeps", ("granny", "granny's cat"), ("granny", "granny's cat")),
    ],
)
def test_a_word_that_several_names_have_names_nobody(text: str, names: tuple[str, ...], found: tuple[str, ...]) -> None:
    assert named_in(text, names) == found


@pytest.mark.parametrize(
    ("model", "operators", "scale"), [("sdxl", None, 0.2), ("flux-dev-redux", None, 1.0), ("flux-dev-redux", 0.4, 0.4)]
)
def test_redux_follows_its_reference_as_its_entry_says(model: str, operators: float | None, scale: float) -> None:
    assert default_reference_scale(Settings(story_reference_scale=operators), CATALOGUE.get(model)) == scale
