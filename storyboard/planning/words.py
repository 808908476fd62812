"""What the built-in planner knows of English. Stories in other languages are only cut at punctuation."""

from __future__ import annotations


def listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


DETERMINERS = listed("""
a an the his her their its my our your this that these those two three four five
""")
PRONOUNS = listed("he she it they i we you")
PREPOSITIONS = listed("""
in into inside on onto at to toward towards from across through over under along around near by behind beside
between past up down out off of for with without about above below against among until before after
""")
CONJUNCTIONS = listed("""
and then but or so while when whenever until till before after because since as where who which that if
""")
OPENERS = listed("""
once upon one day morning evening night time long ago later soon finally suddenly meanwhile next afterwards
eventually at last a an the and then but so while when until because there now first in the end
""")
"""Words that may begin a clause and mean nothing to a painter."""

_VERBS = listed("""
answer appear approach arrive ask attack bake become beg begin believe bite borrow break bring build burn buy call
carry catch celebrate challenge chase cheat choose clean climb close collect come convince cook count crash crawl
cross cry dance dare decide defeat destroy die dig disappear discover dive draw dream drift drink drive drop eat
enter escape explore face fall fear feed feel fight fill find finish fix flee fly follow forget forgive free gallop
gather get give go grab greet grow guard guess guide hear help hide hold hope hug hunt hurry invite join jump keep
kiss knock know land laugh lead lean learn leave lie lift light like listen live look lose love make march marry
meet miss mount move need offer open outwit paint pass pay persuade pick plant play point pour pray prepare promise
protect pull push put race reach read realize receive refuse remember rescue rest return reveal ride rise roll row
run sail save say search see seek seize sell send set shake share shine shoot shout show sing sink sit skate sleep
slip smell smile sneak speak spot stand start stay steal step stop stumble swap swim take talk taste teach tell
thank think throw tie touch trade travel trick try turn understand use visit wait wake walk wander want warn wash
watch wear weep whisper win wish wonder work write
""")
_PASTS = listed("""
became began bit bled blew bought broke brought built came caught chose crept cut dealt did done drank drew drove
dug ate fed fell felt fled flew forgave forgot fought found froze gave got grew had heard held hid hit is was were
are has kept knew laid lay led left lent lost made met paid put ran read rode rose said sang sank sat saw sent shone
shot shook shut slept slid slipped sold spent spoke spun stole stood stuck swam swore taken taught thought threw
told took tore understood went woke won wore wrote
""")


def _inflected(verb: str) -> set[str]:
    stem = verb.removesuffix("e")
    third = f"{verb[:-1]}ies" if verb[-1] == "y" and verb[-2] not in "aeiou" else f"{verb}s"
    past = f"{verb[:-1]}ied" if third.endswith("ies") else f"{stem}ed"
    return {verb, third, f"{verb}es", past, f"{stem}ing", f"{verb}{verb[-1]}ed", f"{verb}{verb[-1]}ing"}


VERBS = frozenset(form for verb in _VERBS for form in _inflected(verb)) | _PASTS

PEOPLE = listed("""
actor artist astronaut baker bandit barber beggar blacksmith boy bride brother captain chief child children clown
cook crowd dancer daughter detective doctor driver elder emperor enemy explorer fairy family farmer father fisherman
friend friends gardener general ghost giant girl gnome goblin guard guards guest hero heroine hunter husband judge
khan king knight lady lord magician man men merchant miner monk mother musician neighbour neighbor nomad nurse
painter people pilot pirate pirates poet postman priest prince princess queen robber robot sailor scientist sheikh
shepherd singer sister soldier soldiers son stranger student sultan tailor teacher thief thieves trader traveller
traveler trickster twins uncle villager villagers vizier warrior widow wife witch wizard woman women
""")
ANIMALS = listed("""
ant bear bee bird birds butterfly camel cat chicken cow crab crow deer dog dogs dolphin donkey dragon duck duckling
eagle elephant fish fox foal frog goat goose hare hedgehog hen horse horses kitten ladybug lamb lion lizard mole
monkey monster mouse mule octopus owl panda parrot penguin pig pony puppy rabbit ram rat raven seal shark sheep
snail snake sparrow spider squirrel stallion swan tiger toad turtle unicorn whale wolf wolves worm
""")
PLACES: dict[str, str] = {
    **dict.fromkeys(
        listed("""
attic bakery barn bazaar bedroom cabin café cafe cage castle cathedral cave cellar church city cottage courtyard
desert forest fortress garden hall harbour harbor house hut inn jungle kitchen library marketplace market museum
palace park prison room school shop sky snow stable station swamp temple tent tower town valley village wood woods
workshop yard yurt zoo restaurant hospital office theatre theater mountains laboratory
"""),
        "in",
    ),
    **dict.fromkeys(
        listed("""
beach boat bridge farm field hill hillside island lake meadow moon mountain mountaintop ocean planet plain river
road roof sea ship shore square stage steppe street train tundra
"""),
        "on",
    ),
    **dict.fromkeys(listed("campfire crossroads well waterfall fire gate door window"), "at"),
    "space": "in",
}
"""Places of stories, each with its preposition."""

HOMES: dict[str, str] = {
    **dict.fromkeys(listed("merchant trader thief beggar tailor"), "in the marketplace"),
    **dict.fromkeys(
        listed("king queen prince princess sultan vizier emperor khan knight"), "in the courtyard of a palace"
    ),
    **dict.fromkeys(listed("nomad shepherd horse stallion camel rider sheep"), "on the steppe"),
    **dict.fromkeys(listed("fisherman sailor captain pirate whale dolphin fish"), "by the sea"),
    **dict.fromkeys(listed("fox bear wolf owl deer hunter squirrel hedgehog rabbit"), "in the forest"),
    **dict.fromkeys(listed("astronaut rocket alien"), "in space"),
    **dict.fromkeys(listed("farmer cow pig hen chicken goat"), "on a farm"),
    **dict.fromkeys(listed("teacher student"), "in a school"),
    **dict.fromkeys(listed("frog duck swan turtle"), "by a pond"),
}
"""Typical places of these characters, for stories that name none."""

SAD = listed("""
alone cries cried crying dead death dies died grief hungry loses lonely lost poor sad tears weeps
""")
