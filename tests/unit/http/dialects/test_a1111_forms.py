"""A1111's fields as ours, without a server."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from access.bearer import bearer_key
from api.a1111.requests.control import control_fields
from api.a1111.requests.forms import ImageForm, TextForm
from api.a1111.requests.inpainting import filled, repainting_of
from api.a1111.requests.samplers import sampler_of
from api.a1111.requests.unsupported import without_unsupported
from api.a1111.session.model_choices import Choices
from api.a1111.session.running_requests import Drawing, Running
from core.caller import Caller, set_caller
from core.errors import InvalidRequest, UnknownModel
from core.generation.events import Picture, Step
from core.generation.infotext import SAMPLERS, infotext, parsed_infotext, sampler_names
from core.pixels.fitting import Fit
from core.pixels.upload import UploadedImage
from gateway.media.reading.decoded_kinds import MASK
from gateway.media.reading.decoding import uploaded
from models.catalogue.catalogue import Catalogue
from models.catalogue.families.samplers import DIFFUSION, FLOW, FLOW_MULTISTEP
from models.catalogue.families.schedulers import Samplers
from tests.support.resolving import TINY_ENTRY
from tests.support.servers.serving import half_mask, photo, png

MAX_PX = 2**20
WIDE = (160, 120)


class TestSamplers:
    @pytest.mark.parametrize("samplers", [DIFFUSION, FLOW, FLOW_MULTISTEP])
    def test_every_name_that_is_shown_is_found(self, samplers: Samplers) -> None:
        shown = {name: SAMPLERS[name] for name in samplers.bases}
        assert {name: samplers.find(label) for name, label in shown.items()} == {name: name for name in samplers.bases}

    @pytest.mark.parametrize("samplers", [DIFFUSION, FLOW, FLOW_MULTISTEP])
    def test_both_names_of_every_id_lead_back_to_it(self, samplers: Samplers) -> None:
        for name in samplers:
            label, schedule = sampler_names(name)
            wanted = "uniform" if schedule == "Automatic" else schedule
            assert sampler_of(samplers, label, wanted, "unused")[0] == name

    @pytest.mark.parametrize(
        ("name", "schedule", "sampler"),
        [
            (None, None, None),
            (None, "automatic", None),
            (None, "Karras", "ddim_trailing"),
            ("Euler a", "automatic", "euler_a"),
            ("DPM++ 2M", None, "dpmpp_2m_karras"),
            ("DPM++ 2M", "Automatic", "dpmpp_2m_karras"),
            ("DPM++ 2M SDE", "automatic", "dpmpp_2m_sde_exponential"),
            ("DPM++ 2M", "SGM Uniform", "dpmpp_2m_sgm_uniform"),
            ("DPM++ 2M Karras", None, "dpmpp_2m_karras"),
            ("DPM++ 2M Karras", "automatic", "dpmpp_2m_karras"),
            ("DPM++ 2M Karras", "exponential", "dpmpp_2m_exponential"),
            ("k_dpmpp_2m", "beta", "dpmpp_2m_beta"),
            ("DPM++ 2M", "Uniform", "dpmpp_2m"),
        ],
    )
    def test_two_fields_are_one_sampler(self, name: str | None, schedule: str | None, sampler: str | None) -> None:
        if sampler == "ddim_trailing":
            with pytest.raises(InvalidRequest, match="scheduler: ddim does not take karras"):
                sampler_of(DIFFUSION, name, schedule, "ddim")
        else:
            assert sampler_of(DIFFUSION, name, schedule, "ddim")[0] == sampler

    def test_a_flow_has_its_own_schedule(self) -> None:
        assert sampler_of(FLOW, "Euler", "simple", "flow_euler") == (
            "flow_euler",
            ("scheduler is ignored: flow_euler spaces its steps as the model says",),
        )
        assert sampler_of(FLOW_MULTISTEP, "DPM++ 2M", "automatic", "unipc") == ("dpmpp_2m", ())


class TestNumbers:
    @pytest.mark.parametrize(("clip_skip", "read"), [(0, None), (None, None), (2, 2), (12, 12)])
    def test_0_is_the_default_as_in_the_web_ui(self, clip_skip: int | None, read: int | None) -> None:
        assert TextForm(prompt="an apple", clip_skip=clip_skip).clip_skip == read

    @pytest.mark.parametrize("clip_skip", [-1, 13])
    def test_others_are_within_its_limits(self, clip_skip: int) -> None:
        with pytest.raises(ValidationError):
            TextForm(prompt="an apple", clip_skip=clip_skip)


class TestUnsupported:
    def test_what_is_off_needs_no_mention(self) -> None:
        fields = {"prompt": "an apple", "enable_hr": False, "hr_scale": 2, "tiling": False, "subseed_strength": 0.0}
        others = {"script_name": "", "styles": [], "seed_resize_from_w": -1, "s_noise": 1.0, "subseed": -1}
        assert without_unsupported({**fields, **others}, {"prompt": ...}) == ({"prompt": "an apple"}, ())

    def test_what_belongs_to_the_hires_fix_may_be_anything_without_it(self) -> None:
        fields = {"hr_scale": 0, "denoising_strength": 7, "hr_upscaler": None, "steps": 3}
        assert without_unsupported(fields, TextForm.model_fields) == ({"steps": 3}, ())
        assert without_unsupported({**fields, "enable_hr": True}, TextForm.model_fields)[0]["hr_scale"] == 0
        assert without_unsupported({"denoising_strength": 0.3}, ImageForm.model_fields)[0] == {
            "denoising_strength": 0.3
        }

    def test_what_nobody_knows_is_in_one_hint(self) -> None:
        _, hints = without_unsupported({"url": 1, "auth": "secret", "s_churn": 3}, {})
        assert hints == ("s_churn is ignored: there is no such thing here", "unknown fields are ignored: auth, url")


PARAMETERS: dict[str, Any] = {
    "prompt": 'an "apple", on: a table',
    "negative_prompt": "blurry\ndark",
    "loras": [{"name": "ink", "scale": 0.5}],
    "num_inference_steps": 20,
    "scheduler": "dpmpp_2m_karras",
    "guidance_scale": 7.0,
    "seed": 2**40,
    "width": 512,
    "height": 768,
    "model": "a, strange: model",
    "strength": 0.55,
    "clip_skip": 1,
}


class TestTheText:
    def test_it_is_as_the_web_ui_writes_it(self) -> None:
        lines = infotext(PARAMETERS).split("\n")
        assert lines[:3] == ['an "apple", on: a table <lora:ink:0.5>', "Negative prompt: blurry", "dark"]
        assert lines[3].startswith(
            "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 1099511627776, Size: 512x768, "
            'Model: "a, strange: model", Denoising strength: 0.55, Clip skip: 2, Version: Jubako '
        )

    def test_it_is_read_back(self) -> None:
        parsed = parsed_infotext(infotext(PARAMETERS))
        assert parsed["Prompt"] == 'an "apple", on: a table <lora:ink:0.5>'
        assert parsed["Negative prompt"] == "blurry\ndark"
        assert (parsed["Size-1"], parsed["Size-2"], parsed["Model"]) == ("512", "768", "a, strange: model")

    def test_a_prompt_alone_is_no_list_of_pairs(self) -> None:
        assert parsed_infotext("an apple: red") == {"Prompt": "an apple: red", "Negative prompt": ""}

    @pytest.mark.parametrize(
        "text", ["a" * 10**6, 'a: "' * 250_000, "a b-c/" * 160_000, " " * 10**6, 'a: "\\' * 200_000]
    )
    def test_no_text_takes_long_to_read(self, text: str) -> None:
        parsed_infotext(text)


def control(
    *units: dict[str, Any], kinds: str = "canny depth", init: UploadedImage | None = None, **scripts: Any
) -> Any:
    nets = {kind: {"source": {"path": kind}} for kind in kinds.split()}
    entry = type(TINY_ENTRY).model_validate({**TINY_ENTRY.model_dump(exclude_unset=True), "controlnets": nets})
    return control_fields({"ControlNet": {"args": list(units)}, **scripts}, entry, init)


class TestControlUnits:
    IMAGE = base64.b64encode(png(half_mask())).decode()

    @pytest.mark.parametrize(
        "held", [{"image": IMAGE}, {"input_image": IMAGE}, {"image": {"image": IMAGE, "mask": None}}]
    )
    def test_a_unit_is_a_control_image(self, held: dict[str, Any]) -> None:
        unit = {
            **held,
            "model": "control_v11f1p_sd15_depth [cfd03158]",
            "weight": 0.7,
            "resize_mode": "Resize and Fill",
        }
        fields, hints = control(unit)
        assert fields.pop("control_image").size == half_mask().size
        assert (fields, hints) == ({"control_type": "depth", "control_scale": 0.7, "fit": Fit.PAD}, ())

    def test_one_that_is_off_is_none(self) -> None:
        assert control({"enabled": False, "module": "canny"}, False) == ({}, ())  # type: ignore[arg-type]
        assert control(ADetailer={"args": [False]}, animatediff={"args": [{"enable": False}]}) == ({}, ())

    def test_an_image_to_start_from_is_the_map_too(self) -> None:
        init = uploaded(png(photo()), "init_images", MAX_PX)
        assert control({"model": "canny"}, init=init)[0] == {
            "control_image": init,
            "control_scale": 1.0,
            "control_type": "canny",
        }

    def test_what_does_not_map_is_ignored_or_refused(self) -> None:
        unit = {"image": self.IMAGE, "model": "canny"}
        assert control({**unit, "guidance_end": 0.5, "control_mode": 2})[1] == (
            "guidance_start is ignored: a ControlNet acts at all steps here",
            "control_mode is ignored: prompt and ControlNet are balanced here",
        )
        for wrong, word in (
            ({"model": "control_openpose"}, "canny, depth"),
            ({"weight": 3}, "weight"),
            ({"image": None}, "image: is missing"),
        ):
            with pytest.raises(InvalidRequest, match=word):
                control({**unit, **wrong})
        with pytest.raises(InvalidRequest, match="one unit"):
            control(unit, unit)


def form(**fields: Any) -> ImageForm:
    return ImageForm(init_images=(uploaded(png(photo(*WIDE)), "init_images", MAX_PX),), **fields)


def mask_of(box: tuple[int, int, int, int], size: tuple[int, int] = WIDE) -> UploadedImage:
    mask = Image.new("L", size)
    mask.paste(255, box)
    return uploaded(png(mask), "mask", MAX_PX, MASK)


class TestMasks:
    IMAGE = uploaded(png(photo(*WIDE)), "init_images", MAX_PX)

    def test_the_part_has_the_proportions_that_are_generated(self) -> None:
        part = repainting_of(
            form(width=64, height=64, inpaint_full_res_padding=5, mask_blur=0),
            self.IMAGE,
            mask_of((10, 50, 40, 60)),
            Fit.STRETCH,
        )
        # 40 x 20 pixels with what is around it, and as high as wide.
        assert part.box == (5, 35, 45, 75)
        # Callers are charged for all of the answer.
        assert part.answered_px == WIDE[0] * WIDE[1]
        assert [each.size for each in part.part] == [(40, 40)] * 2

    def test_at_the_border_it_is_moved_inwards(self) -> None:
        part = repainting_of(
            form(width=64, height=128, mask_blur=0), self.IMAGE, mask_of((120, 100, 160, 120)), Fit.STRETCH
        )
        assert part.box == (120, 40, 160, 120)

    def test_a_blur_softens_and_an_inversion_turns_it(self) -> None:
        hard = repainting_of(
            form(mask_blur=0, inpainting_mask_invert=True), self.IMAGE, mask_of((0, 0, 80, 120)), Fit.STRETCH
        )
        assert set(np.unique(np.asarray(hard.mask.open()))) == {0, 255}
        assert np.asarray(hard.mask.open())[0, 0] == 0
        soft = repainting_of(form(mask_blur=8), self.IMAGE, mask_of((0, 0, 80, 120)), Fit.STRETCH)
        assert len(np.unique(np.asarray(soft.mask.open()))) > 20

    def test_a_mask_of_another_size_becomes_the_images(self) -> None:
        part = repainting_of(form(mask_blur=0), self.IMAGE, mask_of((0, 0, 40, 60), (80, 60)), Fit.STRETCH)
        assert part.mask.size == WIDE
        assert part.box == (0, 0, 80, 120)

    def test_what_is_kept_stays_and_grey_is_blended(self) -> None:
        part = repainting_of(
            form(mask_blur=3, inpaint_full_res=False), self.IMAGE, mask_of((0, 0, 80, 120)), Fit.STRETCH
        )
        red = Image.new("RGB", (64, 48), "red")
        image = np.asarray(part.composed(Picture(0, 0, red)))
        small = np.asarray(photo(*WIDE).resize((64, 48), Image.Resampling.LANCZOS))
        assert (image[:, 45:] == small[:, 45:]).all()
        assert (image[:, :20] == (255, 0, 0)).all()

    def test_it_starts_from_the_colours_around_or_from_grey(self) -> None:
        white = Image.new("RGB", (64, 64), "white")
        white.paste((0, 0, 255), (16, 16, 48, 48))
        image, mask = uploaded(png(white), "init_images", MAX_PX), mask_of((16, 16, 48, 48), (64, 64))
        around = np.asarray(filled(image, mask, (64, 64), Fit.STRETCH, 0).open())
        assert around[32, 32].min() > 200
        assert (np.asarray(filled(image, mask, (64, 64), Fit.STRETCH, 3).open())[32, 32] == 128).all()
        assert (around[:10] == 255).all()


class TestCallers:
    """What each sees and chooses is their own."""

    ALICE, BOB = Caller("alice"), Caller("bob")

    async def test_progress_and_interrupts_are_their_own(self) -> None:
        running = Running()
        set_caller(self.ALICE)
        with running.holding(Drawing("txt2img", 1, 4)) as first, running.holding(Drawing("txt2img", 1, 4)):
            assert running.own() is first
            set_caller(self.BOB)
            assert running.own() is None
            with running.holding(Drawing("img2img", 1, 4)) as bobs:
                assert running.own() is bobs
            set_caller(self.ALICE)
            assert running.own() is first
        assert running.own() is None

    async def test_without_keys_all_are_one(self) -> None:
        running = Running()
        set_caller(Caller("10.0.0.1", anonymous=True))
        with running.holding(Drawing("txt2img", 1, 4)) as drawing:
            set_caller(Caller("10.0.0.2", anonymous=True))
            assert running.own() is drawing

    async def test_models_are_their_own_choice(self) -> None:
        other = TINY_ENTRY.model_copy(update={"id": "other"})
        catalogue, choices = Catalogue([TINY_ENTRY, other]), Choices()
        set_caller(self.ALICE)
        choices.choose(catalogue, "other.safetensors [0123abcd]")
        assert choices.entry(catalogue).id == "other"
        set_caller(self.BOB)
        assert choices.entry(catalogue).id == "tiny"
        with pytest.raises(UnknownModel):
            choices.choose(catalogue, "nobody")


class TestDrawings:
    async def test_progress_counts_parts_and_steps(self) -> None:
        drawing = Drawing("txt2img", 2, 4)
        assert drawing.progress == pytest.approx(0.01)
        drawing.watch(Step(0, 2, 4))
        assert drawing.progress == pytest.approx(0.26)
        drawing.begin(1)
        drawing.watch(Picture(0, 0, Image.new("RGB", (8, 8))))
        assert drawing.progress == 1

    async def test_an_interrupt_ends_all_parts_and_a_skip_one(self) -> None:
        drawing = Drawing("txt2img", 3, 4)
        drawing.begin(0)
        drawing.skip()
        await drawing.unless_stopped(forever())
        drawing.begin(1)
        await drawing.unless_stopped(asyncio.sleep(0))
        drawing.interrupt()
        drawing.begin(2)
        await drawing.unless_stopped(forever())


async def forever() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("Bearer jbk_1", "jbk_1"),
        ("Basic " + base64.b64encode(b"someone:jbk_1:2").decode(), "jbk_1:2"),
        ("Basic " + base64.b64encode(b"jbk_1").decode(), "jbk_1"),
        ("Basic ", ""),
        ("Basic ???", ""),
        ("Basic " + base64.b64encode(b"\xff\xfe").decode(), ""),
        ("", ""),
    ],
)
def test_a_key_may_come_as_a_password(header: str, key: str) -> None:
    assert bearer_key({"type": "http", "headers": [(b"authorization", header.encode())]}) == key
