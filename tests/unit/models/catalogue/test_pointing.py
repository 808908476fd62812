"""What an operator may write in place of a model's name, and what is kept of it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from core.errors import StartError
from core.validation import NAME_PATTERN
from models.catalogue.pointing import pointed_entries
from models.catalogue.pointing.description_process import Permissions
from models.catalogue.pointing.model_cache import ModelCache, model_cache
from models.catalogue.pointing.pointers import Pointer, pointer
from models.catalogue.pointing.slugs import free_id
from models.catalogue.serving.served_models import served_catalogue, text2image_model
from models.catalogue.sources import Source
from tests.support.servers.serving import ENTRY_FIELDS
from tests.unit.models.catalogue.test_served_models import settings_of

FIELDS = {**ENTRY_FIELDS, "family": "stable-diffusion"}


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("someone/model", {"repo": "someone/model"}),
        ("someone/model@main", {"repo": "someone/model"}),
        ("someone/model@v1", {"repo": "someone/model", "revision": "v1"}),
        ("someone/model@refs/pr/7", {"repo": "someone/model", "revision": "refs/pr/7"}),
        ("someone/FLUX.1-x/a-b.gguf", {"repo": "someone/FLUX.1-x", "file": "a-b.gguf"}),
        ("someone/x/in/a.safetensors@v1", {"repo": "someone/x", "revision": "v1", "file": "in/a.safetensors"}),
        ("someone/x@v1/in/a.safetensors", {"repo": "someone/x", "revision": "v1", "file": "in/a.safetensors"}),
        ("someone/x/inside", {"repo": "someone/x", "subfolder": "inside"}),
        ("https://huggingface.co/someone/x", {"repo": "someone/x"}),
        ("huggingface.co/someone/x", {"repo": "someone/x"}),
        ("someone/x/", {"repo": "someone/x"}),
        ("https://huggingface.co/someone/x/tree/main", {"repo": "someone/x"}),
        ("https://huggingface.co/a/x/blob/v1/b/c%20d.gguf", {"repo": "a/x", "revision": "v1", "file": "b/c d.gguf"}),
        ("https://hf.co/a/x/resolve/main/c.safetensors?download=true", {"repo": "a/x", "file": "c.safetensors"}),
    ],
)
def test_places_on_the_hub(text: str, source: dict[str, str]) -> None:
    found = pointer(text)
    assert found is not None
    assert found.source == Source.model_validate(source)


def test_places_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("pipeline", "other", "owner/name"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "pipeline" / "model_index.json").touch()

    def path_of(text: str) -> Path | None:
        found = pointer(text)
        return None if found is None or found.source is None else found.source.path

    relative = ("./missing", "my.safetensors", "in/my.gguf", "pipeline", "owner/name", "../my.safetensors", "./other/")
    for text in relative:
        assert path_of(text) == Path(os.path.normpath(tmp_path / text)), text
    assert path_of("./other/../pipeline") == path_of("pipeline"), "one place"
    assert path_of("~nobody-of-this-name/model") == tmp_path / "~nobody-of-this-name/model", "a shell leaves it too"
    assert path_of("~/a.safetensors") == tmp_path / "home" / "a.safetensors"
    assert path_of("/data/model") == Path("/data/model")
    assert pointer("other") is None, "a name, since it is no pipeline"
    assert path_of("owner/other") is None, "a repository, since it is not here"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("someone/My-SD-v1.5", "My-SD-v1.5"),
        ("someone/x/in/a.safetensors", "a.safetensors"),
        ("someone/x/model.safetensors", "x"),
        ("/data/juggernaut/diffusion_pytorch_model.safetensors", "juggernaut"),
        ("/model.safetensors", "/"),
        ("/data/merged/../other", "other"),
        ("https://example.org/a%20b.gguf?x=1", "a b.gguf"),
    ],
)
def test_names_are_those_that_people_use(text: str, name: str) -> None:
    found = pointer(text)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("text", ["sdxl", "a b", "a/b@1@2", "", "a//b"])
def test_what_can_only_be_a_name(text: str) -> None:
    assert pointer(text) is None


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("My Great_Model-v1.0.safetensors", "my-great-model"),
        ("FLUX.1-dev", "flux.1-dev"),
        ("stable-diffusion-xl-base-1.0", "stable-diffusion-xl-base"),
        ("Realistic_Vision_V5.1_noVAE", "realistic-vision-v5.1-novae"),
        ("Qwen-Image-Edit-2509", "qwen-image-edit-2509"),
        ("Ünï (fp8).gguf", "uni-fp8"),
        ("墨.safetensors", "model"),
        ("--.--", "model"),
        ("x" * 300, "x" * 80),
    ],
)
def test_ids_are_readable(name: str, slug: str) -> None:
    assert free_id(name, lambda _: False) == slug
    assert re.fullmatch(NAME_PATTERN, slug)


def test_ids_are_unique() -> None:
    taken: set[str] = set()
    for name in ("A-v1.safetensors", "a-v2.safetensors", "A_v2.gguf", "a"):
        taken.add(free_id(name, taken.__contains__))
    assert taken == {"a", "a-v2", "a-2", "a-3"}


class Looks:
    """What the process that looks at models is asked, and says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        monkeypatch.setattr(pointed_entries, "describe_in_subprocess", self)

    def __call__(self, pointers: Sequence[Pointer], _allowed: Permissions) -> list[dict[str, Any]]:
        self.asked += [each.text for each in pointers]
        return [
            {**FIELDS, "title": each.name, "source": json.loads(each.source.model_dump_json())}
            for each in pointers
            if each.source is not None
        ]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Looks:
    monkeypatch.setenv("JUBAKO_MODEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return Looks(monkeypatch)


def test_names_and_places_may_be_mixed(looks: Looks, monkeypatch: pytest.MonkeyPatch) -> None:
    named = "miniature,someone/My_Model-v2,./my.safetensors,SDXL"
    settings = settings_of(monkeypatch, JUBAKO_MODELS=named, JUBAKO_ALIASES="gpt-image-1=./my.safetensors")
    served = served_catalogue(settings)
    assert list(served.entries) == ["miniature", "my-model", "my", "sdxl"]
    names = ("someone/my_model-V2", "my-model", "someone/My_Model-v2", "gpt-image-1", "./my.safetensors")
    assert [served.get(name).id for name in names] == ["my-model"] * 2 + ["my-model"] + ["my"] * 2


def test_a_model_is_looked_at_once(looks: Looks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "my.safetensors"
    file.write_bytes(b"1")
    settings = settings_of(monkeypatch, JUBAKO_MODELS="someone/a,./my.safetensors")
    for _ in range(2):
        served_catalogue(settings)
    assert looks.asked == ["someone/a", "./my.safetensors"]
    file.write_bytes(b"22")
    served_catalogue(settings)
    assert looks.asked[2:] == ["./my.safetensors"], "it is another file now"


@pytest.mark.parametrize("content", ["", "{", "[]", "3"])
def test_what_was_kept_and_is_damaged_is_looked_at_again(
    content: str, looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(monkeypatch, JUBAKO_MODELS="someone/a")
    served_catalogue(settings)
    for file in model_cache(settings.model_cache).folder.glob("described/*"):
        file.write_text(content)
    served_catalogue(settings)
    assert looks.asked == ["someone/a"] * 2


def test_two_ways_to_write_a_place_are_one_model(looks: Looks, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(monkeypatch, JUBAKO_MODELS="someone/a,https://huggingface.co/someone/a")
    assert list(served_catalogue(settings).entries) == ["a"]


def test_repositories_of_the_catalogue_keep_their_entries(looks: Looks, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = "stabilityai/stable-diffusion-xl-base-1.0"
    names = (repo, f"https://huggingface.co/{repo}", f"{repo}@main")
    settings = settings_of(monkeypatch, JUBAKO_MODELS=",".join(names))
    assert (list(served_catalogue(settings).entries), looks.asked) == (["sdxl"], [])


def test_ids_that_collide_are_told(looks: Looks, monkeypatch: pytest.MonkeyPatch) -> None:
    served = served_catalogue(settings_of(monkeypatch, JUBAKO_MODELS="someone/SDXL,a/x,b/x"))
    assert list(served.entries) == ["sdxl-2", "x", "x-2"]
    assert served.notes == (
        "JUBAKO_MODELS: someone/SDXL is called sdxl-2, since there is another sdxl",
        "JUBAKO_MODELS: b/x is called x-2, since there is another x",
    )


@pytest.mark.parametrize(
    ("allowed", "url", "said"),
    [
        ("false", "https://example.org/a.safetensors", "is an address; JUBAKO_MODEL_URLS=true allows"),
        ("true", "https://example.org/models/7", r"must end in the name of a \.safetensors or \.gguf file"),
    ],
)
def test_addresses_need_a_setting_and_a_name(
    allowed: str, url: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = {"JUBAKO_MODELS": url, "JUBAKO_MODEL_URLS": allowed, "JUBAKO_MODEL_CACHE": str(tmp_path)}
    with pytest.raises(StartError, match=said):
        served_catalogue(settings_of(monkeypatch, **names))


@pytest.mark.parametrize("variable", ["MODEL", "TEXT2IMAGE_MODEL"])
def test_the_microservices_variables_may_point_too(
    variable: str, looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(monkeypatch, **{variable: "someone/a"})
    served = served_catalogue(settings)
    assert (list(served.entries), text2image_model(settings, served)) == (["a"], "a")
    settings = settings_of(monkeypatch, JUBAKO_MODELS="miniature,someone/a", **{variable: "someone/a"})
    assert text2image_model(settings, served_catalogue(settings)) == "a"


def test_loras_of_a_model_have_a_folder_by_its_id(
    looks: Looks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "loras" / "a").mkdir(parents=True)
    (tmp_path / "loras" / "a" / "ink.safetensors").touch()
    settings = settings_of(monkeypatch, JUBAKO_MODELS="someone/a", JUBAKO_LORA_FOLDER=str(tmp_path / "loras"))
    assert list(served_catalogue(settings).get("a").choosable_loras) == ["ink"]


def test_who_reads_while_another_writes_finds_all_or_nothing(tmp_path: Path) -> None:
    kept, place = ModelCache(tmp_path), pointer("someone/a")
    assert place is not None
    fields = {"title": "x" * 100_000}

    def write(_number: int) -> None:
        kept.put(place, fields)

    with ThreadPoolExecutor(4) as threads:
        written = threads.map(write, range(50))
        assert all(kept.get(place) in (None, fields) for _ in range(200))
        list(written)
    assert kept.get(place) == fields
    assert len(list((tmp_path / "described").iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_named(looks: Looks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(StartError, match=r"^JUBAKO_MODEL_CACHE: what someone/a is cannot be kept in "):
        served_catalogue(settings_of(monkeypatch, JUBAKO_MODELS="someone/a"))
