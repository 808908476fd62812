from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from errors import UnknownModel
from models.catalogue import SHIPPED, CatalogueError, load_catalogue, unknown_words
from models.request import Task
from tests.serving import ENTRY_FIELDS

ENTRY: dict[str, Any] = {**ENTRY_FIELDS, "family": "stable-diffusion", "source": {"path": "weights"}}


def write(folder: Path, **entries: object) -> Path:
    file = folder / "catalogue.yaml"
    file.write_text(yaml.safe_dump(entries))
    return file


def test_the_shipped_catalogue_is_valid() -> None:
    catalogue = load_catalogue(*SHIPPED)
    assert {"miniature", "sd15", "sdxl", "sdxl-turbo"} <= catalogue.entries.keys()


def test_paths_start_at_the_catalogue(tmp_path: Path) -> None:
    (tmp_path / "words.json").touch()
    entry = load_catalogue(write(tmp_path, tiny={**ENTRY, "vocabulary": "words.json"})).get("tiny")
    assert entry.source.path == tmp_path / "weights"
    assert entry.vocabulary == tmp_path / "words.json"


def test_tasks_follow_from_the_family(tmp_path: Path) -> None:
    assert set(load_catalogue(write(tmp_path, tiny=ENTRY)).get("tiny").tasks) == {
        Task.TEXT_TO_IMAGE,
        Task.IMAGE_TO_IMAGE,
        Task.INPAINT,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "stable-confusion"}, "family: .*unknown family 'stable-confusion'; known: flux, stable"),
        ({"defaults": {**ENTRY["defaults"], "scheduler": "heum"}}, "defaults.scheduler: .*'heum'"),
        ({"source": {}}, "source: .*give one of path, repo and bento"),
        ({"source": {"path": "a", "repo": "b"}}, "source: .*give one of path, repo and bento"),
        ({"batch_token": 3}, "batch_token: Extra"),
        ({"limits": {**ENTRY["limits"], "multiple_px": 12}}, "multiple of 8"),
        ({"preview": "nowhere.json"}, "preview: .*nowhere.json"),
    ],
)
def test_a_mistake_is_reported_with_file_entry_and_field(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = write(tmp_path, good=ENTRY, bad={**ENTRY, **change})
    with pytest.raises(CatalogueError, match=f"catalogue.yaml: bad: .*{message}"):
        load_catalogue(file)


@pytest.mark.parametrize("text", ["[1, 2]", "", "a: [", "a: 3"])
def test_a_file_of_another_shape_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "catalogue.yaml"
    file.write_text(text)
    with pytest.raises(CatalogueError, match=r"catalogue\.yaml"):
        load_catalogue(file)


def test_only_the_chosen_models_are_served_the_first_by_default(tmp_path: Path) -> None:
    served = load_catalogue(write(tmp_path, a=ENTRY, b=ENTRY, c=ENTRY)).only(["c", "a"])
    assert served.default.id == "c"
    with pytest.raises(UnknownModel, match="'b' is not served here; served: c, a"):
        served.get("b")


def test_words_the_model_never_saw_are_found_once_each(tmp_path: Path) -> None:
    (tmp_path / "words.json").write_text('{"words": ["a", "red", "apple", "3d"]}')
    entry = load_catalogue(write(tmp_path, tiny={**ENTRY, "vocabulary": "words.json"})).get("tiny")
    assert unknown_words(entry, "A red Zebra, a zebra; 3d APPLE flügel!") == ["zebra", "flügel"]


def test_a_model_without_vocabulary_knows_every_word(tmp_path: Path) -> None:
    entry = load_catalogue(write(tmp_path, tiny=ENTRY)).get("tiny")
    assert unknown_words(entry, "anything") == []
