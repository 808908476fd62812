from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from core.errors import UnknownModel
from core.generation.draft import Draft
from core.generation.request import Task
from models.catalogue.catalogue import SHIPPED, Catalogue, CatalogueError, load_catalogue, unknown_words
from models.catalogue.resolving.resolve import ServerLimits, resolve
from models.catalogue.showing.capabilities import capabilities
from tests.support.engine.animation_videos import video
from tests.support.engine.drawing import centre_mask, photo
from tests.support.servers.serving import ENTRY_FIELDS

ENTRY: dict[str, Any] = {**ENTRY_FIELDS, "family": "stable-diffusion", "source": {"path": "weights"}}
DEFAULTS, LIMITS = ENTRY["defaults"], ENTRY["limits"]
WEIGHTS = {"path": "weights"}
CATALOGUE = load_catalogue(*SHIPPED)
SERVER = ServerLimits(max_prompt_chars=100, max_num_images=1, max_deadline_s=1)


def write(folder: Path, **entries: object) -> Path:
    file = folder / "catalogue.yaml"
    file.write_text(yaml.safe_dump(entries))
    return file


def write_text(folder: Path, text: str) -> Path:
    file = folder / "catalogue.yaml"
    file.write_text(text)
    return file


def default_draft(model: str, task: Task) -> Draft:
    """A request that gives only what its task cannot do without."""
    animation = CATALOGUE.get(model).family_spec.animation
    return Draft(
        model=model,
        task=task,
        prompt="x",
        image=photo() if task.takes_image else None,
        mask=centre_mask() if task is Task.INPAINT else None,
        images=(photo(),) if task is Task.EDIT else (),
        **({"pose_video": video(9), "face_video": video(9)} if animation is not None else {}),
    )


class TestShipped:
    @pytest.fixture
    def catalogue(self) -> Catalogue:
        return CATALOGUE

    def test_stable_diffusion_is_there(self, catalogue: Catalogue) -> None:
        assert {"miniature", "sd15", "sd21", "sdxl", "sdxl-turbo", "sdxl-lightning"} <= catalogue.entries.keys()

    def test_no_two_files_have_one_id(self) -> None:
        ids = Counter(entry for file in SHIPPED for entry in load_catalogue(file).entries)
        assert [entry for entry, files in ids.items() if files > 1] == []

    @pytest.mark.parametrize(("model", "task"), [(e.id, task) for e in CATALOGUE.entries.values() for task in e.tasks])
    def test_a_request_that_leaves_all_to_the_defaults_is_accepted(
        self, catalogue: Catalogue, model: str, task: Task
    ) -> None:
        assert resolve(default_draft(model, task), catalogue, SERVER).task is task

    def test_one_layer_is_all_of_an_image(self, catalogue: Catalogue) -> None:
        one = default_draft("qwen-image-layered", Task.EDIT)
        assert any(hint.startswith("num_images: 1 is one layer") for hint in resolve(one, catalogue, SERVER).hints)
        three = resolve(one.model_copy(update={"num_images": 3}), catalogue, replace(SERVER, max_num_images=3))
        assert (three.layered, three.hints) == (True, ())

    @pytest.mark.parametrize("size", [(700, 100), (100, 800)])
    def test_an_image_that_is_too_long_for_its_layers_is_told(
        self, catalogue: Catalogue, size: tuple[int, int]
    ) -> None:
        draft = default_draft("qwen-image-layered", Task.EDIT)
        draft = draft.model_copy(update={"images": (Image.new("RGB", size),), "num_images": 2})
        hints = resolve(draft, catalogue, replace(SERVER, max_num_images=2)).hints
        squeezed = ("images: the image is squeezed: layers are at most 7 times as long as wide",)
        assert hints == (squeezed if max(size) == 800 else ())

    def test_models_say_whether_their_images_are_layers_and_transparent(self, catalogue: Catalogue) -> None:
        shown = [capabilities(catalogue.get(model)) for model in ("qwen-image-layered", "qwen-image-2.1", "sdxl")]
        assert [(each["layered"], each["transparent"]) for each in shown] == [
            (True, True),
            (False, True),
            (False, False),
        ]

    def test_lightning_is_a_lora_that_nobody_chooses(self, catalogue: Catalogue) -> None:
        entry = catalogue.get("sdxl-lightning")
        assert [lora.always for lora in entry.loras.values()] == [True]
        assert entry.choosable_loras == {}


def test_paths_start_at_the_catalogue(tmp_path: Path) -> None:
    (tmp_path / "words.json").write_text('{"words": []}')
    own = {**ENTRY, "vocabulary": "words.json", "loras": {"pixel": {"source": {"path": "pixel.safetensors"}}}}
    entry = load_catalogue(write(tmp_path, tiny=own)).get("tiny")
    assert entry.source.path == tmp_path / "weights"
    assert entry.vocabulary == tmp_path / "words.json"
    assert entry.loras["pixel"].source.path == tmp_path / "pixel.safetensors"


def test_tasks_follow_from_the_family(tmp_path: Path) -> None:
    assert set(load_catalogue(write(tmp_path, tiny=ENTRY)).get("tiny").tasks) == {
        Task.TEXT_TO_IMAGE,
        Task.IMAGE_TO_IMAGE,
        Task.INPAINT,
    }


def test_a_task_differs_in_what_it_says_and_in_nothing_else(tmp_path: Path) -> None:
    tasks = {"text-to-image": None, "inpaint": {"defaults": {"num_inference_steps": 9}}}
    entry = load_catalogue(write(tmp_path, tiny={**ENTRY, "tasks": tasks})).get("tiny")
    plain, inpaint = entry.tasks[Task.TEXT_TO_IMAGE], entry.tasks[Task.INPAINT]
    assert set(entry.tasks) == {Task.TEXT_TO_IMAGE, Task.INPAINT}
    assert plain.defaults == entry.defaults
    assert inpaint.defaults == entry.defaults.model_copy(update={"num_inference_steps": 9})
    assert plain.limits == inpaint.limits == entry.limits


def test_what_starts_with_an_underscore_is_there_to_be_shared(tmp_path: Path) -> None:
    fields = yaml.safe_dump({key: value for key, value in ENTRY.items() if key != "limits"})
    text = f"_limits: &limits {LIMITS}\ntiny:\n  limits: {{<<: *limits, max_steps: 7}}\n" + "".join(
        f"  {line}\n" for line in fields.splitlines()
    )
    catalogue = load_catalogue(write_text(tmp_path, text))
    assert list(catalogue.entries) == ["tiny"]
    assert catalogue.default.limits.max_steps == 7


def test_an_entry_replaces_that_of_an_earlier_file(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    files = write(tmp_path, a=ENTRY, b=ENTRY), write(tmp_path / "own", a={**ENTRY, "title": "mine"})
    catalogue = load_catalogue(*files)
    assert [entry.title for entry in catalogue.entries.values()] == ["mine", ENTRY["title"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "stable-difusion"}, "family: 'stable-difusion' is unknown; .*did you mean 'stable-diffusion'?"),
        ({"family": ["flux"]}, "family: should be a valid string"),
        ({"source": {}}, "source: give one of path, repo and bento"),
        ({"source": {"path": "a", "repo": "b"}}, "source: give one of path, repo and bento"),
        ({"source": {"path": "a", "revision": "main"}}, "source: a revision is that of a repo"),
        ({"source": "weights"}, "source: should be a mapping of fields, got 'weights'"),
        ({"batch_token": 3}, "batch_token: is not a known field; did you mean 'batch_tokens'?"),
        ({"width": 64}, "width: does not belong here"),
        ({"id": "good"}, "id: is the entry's key"),
        ({"licence": None}, "licence: should be a valid string"),
        ({"dtype": "fp16"}, "dtype: should be 'float32', 'float16' or 'bfloat16', got 'fp16'"),
        ({"memory_gib": math.nan}, "memory_gib: should be a finite number"),
        (
            {"memory": {"offload": "disk"}},
            "memory.offload: should be 'none', 'model', 'group' or 'sequential', got 'disk'",
        ),
        ({"memory": {"batch_buckets": []}}, "memory.batch_buckets: has too few entries"),
        ({"memory": {"quantization": {"backend": "torchao"}}}, "memory.quantization.components: is missing"),
        ({"preview": "nowhere.json"}, "preview: .*nowhere.json: No such file"),
        ({"preview": "broken.json"}, "preview: .*broken.json is not JSON"),
        ({"preview": {"weight": [[1, 2]]}}, "preview.weight.0.2: is missing"),
        ({"vocabulary": "nowhere.json"}, "vocabulary: .*nowhere.json: No such file"),
        ({"vocabulary": "list.json"}, "vocabulary: .*list.json has no list of `words`"),
    ],
)
def test_a_mistake_is_reported_with_file_entry_and_field(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    assert_refused(write(tmp_path, good=ENTRY, bad={**ENTRY, **change}), message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"defaults": {**DEFAULTS, "scheduler": "eular"}}, "defaults.scheduler: 'eular' is unknown.*mean 'euler'?"),
        ({"defaults": {**DEFAULTS, "width": 256}}, "defaults.width: 256 is not between 32 and 128"),
        ({"defaults": {**DEFAULTS, "height": 65}}, "defaults.height: 65 is not a multiple of 16"),
        ({"defaults": {**DEFAULTS, "width": 128, "height": 128}}, "defaults.width: 128x128 is 16384 pixels; at most"),
        ({"defaults": {**DEFAULTS, "width": "tall"}}, "defaults.width: should be a valid integer, got 'tall'"),
        ({"defaults": {**DEFAULTS, "num_inference_steps": 901}}, "defaults.num_inference_steps: 901 .*max_steps, 900"),
        (
            {"defaults": {**DEFAULTS, "num_inference_steps": 51, "scheduler": "lcm"}},
            "defaults.num_inference_steps: 51 is more than 50, all that lcm can take",
        ),
        ({"defaults": {**DEFAULTS, "guidance_scale": 21}}, "defaults.guidance_scale: 21.0 is not between 0.0 and 20.0"),
        (
            {"defaults": {**DEFAULTS, "strength": 0.2}},
            "defaults.strength: 0.2 of 4 steps leaves image-to-image no step",
        ),
        ({"defaults": {**DEFAULTS, "num_frames": 8}}, "defaults.num_frames: stable-diffusion generates no videos"),
        ({"defaults": {**DEFAULTS, "fps": 8}}, "defaults.fps: stable-diffusion generates no videos"),
        (
            {"defaults": {**DEFAULTS, "max_sequence_length": 1}},
            "defaults.max_sequence_length: stable-diffusion has no input for it",
        ),
        (
            {
                "family": "stable-diffusion-3",
                "defaults": {**DEFAULTS, "scheduler": "flow_euler", "max_sequence_length": 513},
            },
            "defaults.max_sequence_length: 513 is more than 512, all that stable-diffusion-3 reads",
        ),
        ({"defaults": [64, 64]}, "defaults: should be a mapping of fields"),
        ({"limits": {**LIMITS, "multiple_px": 12}}, "limits.multiple_px: 12 is not a multiple of 8"),
        ({"limits": {**LIMITS, "multiple_px": 0}}, "limits.multiple_px: should be greater than or equal to 1, got 0"),
        ({"limits": {**LIMITS, "min_px": 120, "max_px": 126}}, "limits: no multiple of 16 is between min_px, 120"),
        ({"limits": {**LIMITS, "max_pixels": 1000}}, "limits: max_pixels: 1000 is less than the smallest .* 32x32"),
        ({"limits": {**LIMITS, "guidance_scale": [3, 1]}}, "limits: the lowest guidance_scale, 3.0, is above"),
        ({"limits": {**LIMITS, "max_frames": 8}}, "limits.max_frames: stable-diffusion generates no videos"),
        ({"limits": {**LIMITS, "max_images": 3}}, "limits.max_images: 3 is more than 1"),
        ({"limits": {**LIMITS, "max_steps": 901}}, "limits.max_steps: should be less than or equal to 900, got 901"),
        ({"tasks": {"edit": None}}, "tasks: stable-diffusion cannot do edit; it can do text-to-image"),
        ({"tasks": {"draw": None}}, "tasks.draw: should be 'text-to-image'"),
        ({"tasks": ["inpaint"]}, "tasks: should be a mapping"),
        ({"tasks": {"inpaint": {"width": 64}}}, "tasks.inpaint.width: does not belong here"),
        ({"tasks": {"inpaint": {"defaults": {"width": 65}}}}, "tasks.inpaint.defaults.width: 65 is not a multiple"),
    ],
)
def test_defaults_limits_and_tasks_must_fit_each_other_and_the_family(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    assert_refused(write(tmp_path, good=ENTRY, bad={**ENTRY, **change}), message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loras": {"pixel": WEIGHTS}}, "loras.pixel.source: is missing; loras.pixel.path: does not belong here"),
        ({"loras": {"pixel": {"source": WEIGHTS, "scale": "big"}}}, "loras.pixel.scale: should be a valid number"),
        ({"loras": {"../x": {"source": WEIGHTS}}}, r"loras.\.\./x: may have a-z, 0-9"),
        ({"controlnets": {"canny": {"source": WEIGHTS, "scale": 3}}}, "controlnets.canny.scale: should be less than"),
        ({"controlnets": {"canny": {"source": {"file": "x"}}}}, "controlnets.canny.source: give one of path, repo"),
        ({"ip_adapter": {"source": WEIGHTS}}, "ip_adapter.image_encoder: is missing; only FLUX.1 Redux"),
        ({"family": "flux", "ip_adapter": {"source": {"path": "a.safetensors"}}}, ".*ip_adapter.image_encoder: is m"),
        (
            {"family": "chroma", "controlnets": {"canny": {"source": WEIGHTS}}},
            ".*controlnets: chroma has no pipelines that take one",
        ),
        (
            {"controlnets": {"canny": {"source": WEIGHTS, "mode": 2}}},
            "controlnets.canny.mode: the ControlNets of stable-diffusion have none",
        ),
        (
            {"family": "z-image", "controlnets": {"canny": {"source": WEIGHTS}}, "memory": {"offload": "model"}},
            ".*controlnets: need layers of z-image's denoiser, so not with memory.offload",
        ),
        (
            {"family": "flux", "controlnets": {"canny": {"source": WEIGHTS}}, "parallel": {"ulysses": 2}},
            ".*controlnets: cannot be combined with parallel",
        ),
        (
            {"family": "chroma", "ip_adapter": {"source": WEIGHTS, "image_encoder": WEIGHTS}},
            ".*ip_adapter: chroma has no pipelines that take one",
        ),
        ({"family": "wan-animate", "last_image": True}, ".*last_image: wan-animate has no pipelines that take one"),
    ],
)
def test_what_is_added_to_a_model_is_checked(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    assert_refused(write(tmp_path, good=ENTRY, bad={**ENTRY, **change}), message)


@pytest.mark.parametrize("model", ["Tiny", "-tiny", "tiny-", "a/b", ""])
def test_an_id_is_fit_for_addresses_and_file_names(model: str, tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="id: may have a-z, 0-9 and, between them"):
        load_catalogue(write(tmp_path, **{model: ENTRY}))


@pytest.mark.parametrize(
    ("width", "says"), [(65, "65 is not a multiple of 16"), ("tall", "should be a valid integer, got 'tall'")]
)
def test_a_mistake_that_all_tasks_inherit_is_told_once(width: object, says: str, tmp_path: Path) -> None:
    file = write(tmp_path, bad={**ENTRY, "defaults": {**DEFAULTS, "width": width}})
    with pytest.raises(CatalogueError) as refusal:
        load_catalogue(file)
    assert str(refusal.value) == f"{file}: bad: defaults.width: {says}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "expected a mapping"),
        ("", "expected a mapping"),
        ("a: [", "line 2, column 1"),
        ("a: 3", "a: expected a mapping of fields"),
        ("\x00", "control characters"),
        ("&a [*a]", "recursion"),
        ("tiny: {}\nsmall: {}\ntiny: {}", "tiny: is given twice, again in line 3"),
        ("tiny:\n  defaults:\n    width: 64\n    width: 32", "tiny.defaults.width: is given twice, again in line 4"),
    ],
)
def test_a_file_of_another_shape_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=rf"catalogue\.yaml: .*{message}"):
        load_catalogue(write_text(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"nowhere\.yaml: No such file"):
        load_catalogue(tmp_path / "nowhere.yaml")


def test_only_the_chosen_models_are_served_the_first_by_default(tmp_path: Path) -> None:
    served = load_catalogue(write(tmp_path, a=ENTRY, b=ENTRY, c=ENTRY)).only(["c", "a"])
    assert served.default.id == "c"
    with pytest.raises(UnknownModel, match="'b' is not served here; served: c, a"):
        served.get("b")


def test_an_operator_who_mistypes_a_model_is_told_the_closest(tmp_path: Path) -> None:
    catalogue = load_catalogue(write(tmp_path, tiny=ENTRY))
    with pytest.raises(CatalogueError, match=r"no model 'tinny'; did you mean 'tiny'\?"):
        catalogue.only(["tinny"])
    with pytest.raises(CatalogueError, match="no model 'large'; `python -m models` lists them"):
        catalogue.only(["large"])


def test_words_the_model_never_saw_are_found_once_each(tmp_path: Path) -> None:
    (tmp_path / "words.json").write_text('{"words": ["a", "red", "apple", "3d"]}')
    entry = load_catalogue(write(tmp_path, tiny={**ENTRY, "vocabulary": "words.json"})).get("tiny")
    assert unknown_words(entry, "A red Zebra, a zebra; 3d APPLE flügel!") == ["zebra", "flügel"]


def test_a_lora_teaches_the_words_that_call_it_up(tmp_path: Path) -> None:
    (tmp_path / "words.json").write_text('{"words": ["a", "red"]}')
    loras = {
        "stripes": {"source": {"path": "stripes.safetensors"}, "trigger": "Zebra"},
        "plain": {"source": {"path": "plain.safetensors"}},
    }
    entry = load_catalogue(write(tmp_path, tiny={**ENTRY, "vocabulary": "words.json", "loras": loras})).get("tiny")
    assert unknown_words(entry, "a red zebra", ["plain"]) == ["zebra"]
    assert unknown_words(entry, "a red zebra", ["plain", "stripes"]) == []


def test_a_model_without_vocabulary_knows_every_word(tmp_path: Path) -> None:
    entry = load_catalogue(write(tmp_path, tiny=ENTRY)).get("tiny")
    assert unknown_words(entry, "anything") == []


def assert_refused(file: Path, message: str) -> None:
    with pytest.raises(CatalogueError, match=rf"catalogue\.yaml: bad: {message}"):
        load_catalogue(file)


def test_aliases_lead_to_the_first_served_entry_that_has_them(tmp_path: Path) -> None:
    file = write(tmp_path, a={**ENTRY, "aliases": ["flux"]}, b={**ENTRY, "aliases": ["flux", "a"]})
    catalogue = load_catalogue(file)
    assert catalogue.only(["b", "a"]).get("flux").id == "b"
    assert catalogue.only(["a"]).get("flux").id == "a"
    assert catalogue.get("a").id == "a", "an id is never an alias"


def test_an_operator_names_models_anew(tmp_path: Path) -> None:
    catalogue = load_catalogue(write(tmp_path, a=ENTRY, b=ENTRY))
    assert catalogue.only(["a"], {"dall-e-3": "a"}).get("dall-e-3").id == "a"
    with pytest.raises(CatalogueError, match="alias 'dall-e-3': 'b' is not one of the served models"):
        catalogue.only(["a"], {"dall-e-3": "b"})
