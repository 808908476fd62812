"""What is served follows from the settings: nothing else quietly takes the place of what was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from core.errors import StartError, UnknownModel
from gateway.assembly import assemble
from gateway.safety.content_policy import ContentPolicy
from models.catalogue.catalogue import full_catalogue
from models.catalogue.serving.served_models import ignored_model, served_catalogue, story_entry, text2image_model
from models.catalogue.showing.capabilities import capabilities
from runners.remote import remote_runners
from settings import Settings
from standalone.in_process import Unmetered
from tests.support.servers.serving import ENTRY_FIELDS


def settings_of(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    for name in ("JUBAKO_MODELS", "DIFFUSER_MODEL_ID", "MODEL", "TEXT2IMAGE_MODEL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Settings()


@pytest.mark.parametrize("variable", ["MODEL", "TEXT2IMAGE_MODEL"])
def test_an_unknown_model_does_not_become_the_default(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(monkeypatch, **{variable: "Stable-Diffusion-XXL"})
    said = f"^{variable}: the catalogue has no model 'Stable-Diffusion-XXL'; did you mean 'stable-diffusion-xl'"
    with pytest.raises(StartError, match=said):
        served_catalogue(settings)


def test_beside_models_of_ours_another_tools_model_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(monkeypatch, JUBAKO_MODELS="miniature", MODEL="Latitude 5420")
    assert ignored_model(settings, served_catalogue(settings)) == "Latitude 5420"


@pytest.mark.parametrize("name", ["SDXL", "Stable-Diffusion-XL", "stabilityai/Stable-Diffusion-xl-base-1.0"])
def test_names_ignore_case(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = settings_of(monkeypatch, MODEL=name)
    assert list(served_catalogue(alone).entries) == ["sdxl"]
    settings = settings_of(
        monkeypatch,
        JUBAKO_MODELS=f"{name},Miniature",
        JUBAKO_ALIASES=f"DALL-E-3={name}",
        JUBAKO_STORY_MODEL=name,
        JUBAKO_RUNNERS=f"{name}=http://one:3001",
        JUBAKO_RUNNER_KEY="a secret of sixteen",
        MODEL=name,
    )
    served = served_catalogue(settings)
    assert list(served.entries) == ["sdxl", "miniature"]
    assert {served.get(each).id for each in (name, name.upper(), "dall-e-3", "Dall-E-3")} == {"sdxl"}
    assert (story_entry(settings, served).id, text2image_model(settings, served)) == ("sdxl", "sdxl")
    assert list(remote_runners(settings, served)) == ["sdxl"]
    with pytest.raises(UnknownModel, match="'SDXXL' is not served"):
        served.get("SDXXL")


class TestOneModelForAllNames:
    def test_it_answers_to_whatever_is_not_served(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = settings_of(
            monkeypatch, JUBAKO_MODELS="miniature,sdxl", JUBAKO_ALIASES="*=miniature,gpt-image-1=sdxl"
        )
        served = served_catalogue(settings)
        names = ("flux", "Qwen/Qwen-Image-Edit", "SDXL", "gpt-image-1", "miniature")
        assert [served.get(name).id for name in names] == ["miniature", "miniature", "sdxl", "sdxl", "miniature"]

    @pytest.mark.parametrize("variable", ["MODEL", "TEXT2IMAGE_MODEL"])
    def test_it_is_the_microservices_model_too(self, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
        named = {variable: "stable-diffusion-xl", "JUBAKO_ALIASES": "*=miniature"}
        settings = settings_of(monkeypatch, **named)
        served = served_catalogue(settings)
        assert (list(served.entries), text2image_model(settings, served)) == (["miniature"], "miniature")
        settings = settings_of(monkeypatch, JUBAKO_MODELS="miniature,sdxl", **named)
        assert text2image_model(settings, served_catalogue(settings)) == "sdxl"

    def test_it_must_be_served(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(StartError, match="'sdxl' is not one of the served models"):
            served_catalogue(settings_of(monkeypatch, JUBAKO_ALIASES="*=sdxl"))

    @pytest.mark.parametrize(
        ("environment", "snaps"),
        [
            ({}, False),
            ({"JUBAKO_ALIASES": "flux=miniature"}, False),
            ({"JUBAKO_ALIASES": "*=miniature"}, True),
            ({"JUBAKO_ALIASES": "*=miniature", "JUBAKO_SNAP_SIZES": "false"}, False),
            ({"JUBAKO_SNAP_SIZES": "true"}, True),
        ],
    )
    def test_sizes_are_then_snapped(
        self, environment: dict[str, str], snaps: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = settings_of(monkeypatch, **environment)
        gateway = assemble(settings, served_catalogue(settings), {}, Unmetered(), ContentPolicy(None, None))
        assert gateway.limits.snaps_sizes is snaps


def test_a_base_that_is_not_in_the_catalogue_is_named(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        yaml.safe_dump({"mine": {**ENTRY_FIELDS, "family": "stable-diffusion", "source": {"path": "a"}, "base": "sd9"}})
    )
    with pytest.raises(StartError, match="mine: base: the catalogue has no model 'sd9'"):
        full_catalogue(tmp_path / "own.yaml")


class TestLoraFolder:
    def files(self, folder: Path, *names: str) -> Path:
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).touch()
        return folder

    def test_names_of_files_become_readable(self, tmp_path: Path) -> None:
        names = ("My Style (v2)", "good", "Ünï_Code", "--x--", "a" * 200)
        folder = self.files(tmp_path, *(f"sdxl/{name}.safetensors" for name in names), "sdxl/notes.txt")
        found = full_catalogue(None, folder)
        assert found.notes == ()
        assert set(found.get("sdxl").choosable_loras) >= {"my-style-v2", "good", "n-_code", "x", "a" * 80}

    def test_what_cannot_be_named_is_skipped_and_says_so(self, tmp_path: Path) -> None:
        folder = self.files(tmp_path, "sdxl/墨.safetensors", "sdxl/My Style.safetensors", "sdxl/my-style.safetensors")
        nameless, second = sorted(full_catalogue(None, folder).notes, key=len, reverse=True)
        assert "a name needs letters or digits from a to z and 0 to 9" in nameless
        assert "another file is called my-style already" in second

    def test_a_name_that_is_taken_is_skipped_and_says_so(self, tmp_path: Path) -> None:
        catalogue = full_catalogue(None, self.files(tmp_path, "miniature/kumo.safetensors"))
        (note,) = catalogue.notes
        assert "the catalogue has a LoRA of this name already" in note
        assert catalogue.get("miniature").choosable_loras["kumo"].source.path != tmp_path / "miniature/kumo.safetensors"

    def test_what_is_added_and_removed_later_is_seen_at_once(self, tmp_path: Path) -> None:
        entry = full_catalogue(None, self.files(tmp_path, "sdxl/a.safetensors")).get("sdxl")
        others = set(entry.choosable_loras) - {"a"}
        for number in range(20):
            self.files(tmp_path, f"sdxl/b{number}.safetensors")
            assert f"b{number}" in entry.choosable_loras
        for file in (tmp_path / "sdxl").iterdir():
            file.unlink()
        assert set(entry.choosable_loras) == others
        self.files(tmp_path, "SDXL/late.safetensors")
        assert "late" in entry.choosable_loras
        assert "late" in capabilities(entry)["loras"]

    def test_the_half_for_the_less_noisy_steps_goes_to_the_second_denoiser(self, tmp_path: Path) -> None:
        names = ("x_high_noise", "x_Low-Noise", "lownoise")
        folder = self.files(tmp_path, *(f"wan22-t2v-a14b/{n}.safetensors" for n in names), "sdxl/low_noise.safetensors")
        catalogue = full_catalogue(None, folder)
        found = {n: s.component for n, s in catalogue.get("wan22-t2v-a14b").choosable_loras.items()}
        assert found == {"x_high_noise": None, "x_low-noise": "transformer_2", "lownoise": "transformer_2"}
        assert catalogue.get("sdxl").choosable_loras["low_noise"].component is None

    def test_embeddings_have_a_folder_too(self, tmp_path: Path) -> None:
        names = ("sdxl/EasyNegative.safetensors", "sdxl/two words.safetensors", "nothing/a.safetensors", "sdxl/x.pt")
        catalogue = full_catalogue(None, embedding_folder=self.files(tmp_path, *names))
        assert list(catalogue.get("sdxl").embeddings) == ["EasyNegative"]
        assert [note.partition(" is skipped: ")[2] for note in catalogue.notes] == [
            "the catalogue has no model 'nothing'",
            "its name is one word of a prompt, without spaces",
        ]

    def test_a_folder_for_an_unknown_model_is_named(self, tmp_path: Path) -> None:
        folder = self.files(tmp_path, "sd-xl-turbo-9/a.safetensors", "stray.safetensors", "empty/readme.txt")
        notes = full_catalogue(None, folder).notes
        assert [note.partition(" is skipped: ")[2] for note in notes] == [
            "the catalogue has no model 'sd-xl-turbo-9'",
            "move it into a folder with the id of its model",
        ]

    def test_a_folder_may_have_any_name_of_its_model(self, tmp_path: Path) -> None:
        catalogue = full_catalogue(None, self.files(tmp_path, "SDXL/a.safetensors"))
        assert "a" in catalogue.get("sdxl").choosable_loras
        assert catalogue.notes == ()

    def test_the_server_still_knows_what_was_skipped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = self.files(tmp_path, "nothing/a.safetensors")
        settings = settings_of(monkeypatch, JUBAKO_LORA_FOLDER=str(folder), JUBAKO_MODELS="miniature")
        assert len(served_catalogue(settings).notes) == 1
