"""Scenes in the words of a model that can only draw one thing on a coloured background, such as the miniature.

One of the things it can draw plays the hero, in all frames except those whose beat names another thing; places and
moods become colours. A LoRA's trigger plays the hero itself: it calls up a character that the model was taught.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from models.miniature.captions import ENDINGS, plain_caption
from storyboard.planning.arc import Moment
from storyboard.planning.beats import words_of
from storyboard.planning.vocabulary import Vocabulary

FREE_TEMPLATE, TRIGGER_TEMPLATE = 0, 1
"""Indices of the miniature's caption templates; the second begins with the thing it shows."""

_ACTORS = ("fox", "cat", "panda", "penguin", "owl", "frog", "dog", "robot", "snowman", "pig")
"""Things that may play a hero who cannot be drawn."""


def _by_word(**meanings: str) -> dict[str, str]:
    return {word: meaning for meaning, words in meanings.items() for word in words.split()}


_PLAYED_BY = _by_word(
    cat="kitten cats lion tiger leopard",
    dog="puppy dogs wolf horse stallion pony donkey hound wolves",
    fox="foxes trickster thief coyote",
    panda="bear pandas cub",
    penguin="penguins",
    owl="owls witch wizard teacher grandmother",
    duck="ducks duckling bird birds swan goose hen chicken sparrow",
    frog="frogs toad prince",
    pig="piglet pigs boar farmer",
    turtle="tortoise turtles snail dinosaur",
    fish="fishes goldfish shark fisherman",
    whale="whales dolphin",
    ladybug="ladybird beetle bug bee ant",
    robot="robots android machine astronaut knight soldier",
    snowman="snowmen",
    butterfly="butterflies moth fairy",
    crown="king queen emperor sultan",
)
"""What plays a hero who is called by one of these words."""
_SHOWN_AS = _by_word(
    apple="apples fruit",
    banana="bananas",
    balloon="balloons party",
    cactus="cactuses cacti",
    car="cars taxi truck bus",
    carrot="carrots vegetables",
    castle="castles palace fortress tower",
    crown="throne",
    cupcake="cake cakes birthday",
    donut="donuts doughnut",
    gift="gifts present presents parcel prize reward treasure gold",
    guitar="guitars music song songs dombra",
    heart="hearts love",
    house="houses home hut cottage village inn yurt",
    key="keys lock secret door",
    moon="moonlight",
    mushroom="mushrooms",
    pizza="pizzas food dinner supper meal bread",
    rainbow="rainbows",
    rocket="rockets spaceship spacecraft",
    sailboat="boat ship sail boats ships raft",
    airplane="plane airplanes aeroplane aircraft",
    star="stars",
    sunflower="sunflowers",
    teapot="tea kettle",
    tree="trees oak",
    tulip="tulips flower flowers rose roses",
    umbrella="umbrellas rain storm",
)
"""What stands for one of these words in a beat."""
_COLOURED = _by_word(
    black="night midnight dark darkness space cave stars",
    white="snow snowy winter ice cold frozen arctic clouds",
    yellow="desert steppe sand sun sunny summer gold golden beach dawn plain day",
    green="forest wood woods jungle garden meadow field grass park spring farm valley",
    blue="sea ocean river lake water sky rain morning boat ship island",
    orange="autumn sunset evening fire fireplace campfire market marketplace bazaar",
    red="angry anger rage danger fight battle war volcano fury",
    pink="love happy joy wedding smiling laughing princess birthday party",
    purple="magic magical wizard witch secret dream dreams king queen palace throne",
    grey="city town street road castle mountain mountains stone sad tears alone ghost fog prison",
)
_ENDED = {
    "walks home": "home returns leaves walking distance",
    "is happy": "happy smiling laughing wins laughs joy celebrates",
    "looks at the sky": "sky moon star stars dreams wishes looking",
    "finds a friend": "friend friends meets greeting together",
    "goes to sleep": "sleep sleeps bed resting tired dream",
    "waits in the garden": "garden",
}


@dataclass(frozen=True)
class Pictured:
    concept: str
    colour: str
    caption: str


@dataclass(frozen=True)
class VocabularyPrompts:
    vocabulary: Vocabulary
    hero: str
    story: str
    trigger: str

    @property
    def actor(self) -> str:
        """What plays the hero: itself if it can be drawn, else something like it, else a fixed random choice."""
        if self.trigger:
            return self.trigger
        hero = words_of(self.hero)
        named = next(self._drawable(hero, _PLAYED_BY | _SHOWN_AS), None)
        if named is None and not self.hero:
            named = next(self._drawable(words_of(self.story), {}), None)
        known = [actor for actor in _ACTORS if actor in self.vocabulary.concepts] or list(self.vocabulary.concepts)
        return named or random.Random(self.hero or self.story).choice(known)

    def prompts(self, moments: Sequence[Moment], rng: random.Random) -> list[str]:
        """Return a prompt for each moment, no two the same."""
        pictured = zip(self._shown(moments), self._colours(moments, rng), moments, strict=True)
        return self.said(Pictured(concept, colour, moment.caption) for concept, colour, moment in pictured)

    def said(self, scenes: Iterable[Pictured]) -> list[str]:
        """Return a prompt for each scene, no two the same."""
        prompts: list[str] = []
        for scene in scenes:
            prompts.append(next(prompt for prompt in self._ways(scene) if prompt not in prompts))
        return prompts

    def _shown(self, moments: Sequence[Moment]) -> Iterator[str]:
        """Yield what each moment shows: the hero first, and never two frames in a row without the hero."""
        actor, last = self.actor, ""
        for moment in moments:
            others = self._drawable(words_of(moment.beat), _SHOWN_AS) if moment.is_beat and last == actor else iter(())
            last = actor if self.trigger else next((other for other in others if other != actor), actor)
            yield last

    def _colours(self, moments: Sequence[Moment], rng: random.Random) -> Iterator[str]:
        """Yield the colour that each moment's words suggest, or the next one in turn; neighbours differ."""
        colours = rng.sample(self.vocabulary.colours, len(self.vocabulary.colours))
        last, own = "", set(words_of(self.hero))
        for at, moment in enumerate(moments):
            words = words_of(f"{moment.beat} {moment.place}" if moment.is_beat else moment.caption)
            words = [word for word in words if word not in own]
            meant = [word if word in colours else _COLOURED.get(word, "") for word in words]
            turn = colours[at % len(colours) :] + colours
            last = next(colour for colour in [*meant, *turn] if colour in colours and colour != last)
            yield last

    def _ways(self, scene: Pictured) -> Iterator[str]:
        """Yield prompts for a scene, the best first: with an ending that fits, without one, then with any ending."""
        template = TRIGGER_TEMPLATE if scene.concept == self.trigger else FREE_TEMPLATE
        plain = plain_caption(scene.concept, scene.colour, template)
        known = [ending for ending in ENDINGS if self.vocabulary.knows(ending)]
        words = set(words_of(scene.caption))
        fitting = [ending for ending in known if words.intersection(_ENDED.get(ending, "").split())]
        yield from (f"{plain}, {ending}" for ending in fitting[:1])
        yield plain
        yield from (f"{plain}, {ending}" for ending in known)

    def _drawable(self, words: Iterable[str], meanings: dict[str, str]) -> Iterator[str]:
        for word in words:
            stem = word.removesuffix("'s").removesuffix("’s")
            concept = stem if stem in self.vocabulary.concepts else meanings.get(stem)
            if concept in self.vocabulary.concepts:
                yield concept
