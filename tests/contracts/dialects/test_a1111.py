"""A1111's API over a real server, by the requests that its clients make.

Open WebUI 0.12.4 (`open_webui/routers/images.py`) and SillyTavern 1.19.0 (`src/endpoints/stable-diffusion.js`, and
`generateAutoImage` in `public/scripts/extensions/stable-diffusion/index.js`) are copied here; webuiapi 0.9.17 itself is
run in `test_real_clients.py`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.support.engine.drawing import largest_difference
from tests.support.metadata import read_parameters
from tests.support.servers.serving import half_mask, photo, png, wait_for
from tests.support.web import client_of

ASKED = {"prompt": "a red apple", "steps": 2, "seed": 7, "width": 64, "height": 64}
LONG = {**ASKED, "steps": 900}
"""Still drawn when it is asked how far it is."""
WIDE = (160, 120)
HIRES: dict[str, Any] = {"enable_hr": True, "hr_scale": 1.25}


@pytest.fixture(scope="module")
def http(server: str) -> Iterator[httpx.Client]:
    with client_of(server) as client:
        yield client


def in_base64(image: Image.Image) -> str:
    return base64.b64encode(png(image)).decode()


def answered(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def opened(text: str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(text)))


def drawn(http: httpx.Client, kind: str = "txt2img", **fields: Any) -> Image.Image:
    (image,) = answered(http.post(f"/sdapi/v1/{kind}", json={**ASKED, **fields}))["images"]
    return opened(image)


def refused(http: httpx.Client, path: str = "txt2img", **fields: Any) -> tuple[str, str]:
    """Return the field and the reason."""
    response = http.post(f"/sdapi/v1/{path}", json={**ASKED, **fields})
    assert response.status_code == 422, response.text
    body = response.json()
    assert set(body) == {"error", "detail", "body", "errors"}
    (mistake,) = body["detail"]
    return mistake["loc"][1], mistake["msg"]


class TestOpenWebUI:
    """Its engine `automatic1111`, which is its default."""

    def test_it_lists_and_chooses_models(self, http: httpx.Client) -> None:
        headers = {"authorization": ""}
        models = [
            {"id": model["title"], "name": model["model_name"]}
            for model in http.get("/sdapi/v1/sd-models", headers=headers).json()
        ]
        assert models == [{"id": name, "name": name} for name in ("tiny", "tiny-xl")]
        options = http.get("/sdapi/v1/options", headers=headers).json()
        assert options["sd_model_checkpoint"] == "tiny"
        answered_options = http.post("/sdapi/v1/options", json={**options, "sd_model_checkpoint": "tiny-xl"})
        assert (answered_options.status_code, answered_options.json()) == (200, None)
        try:
            assert http.get("/sdapi/v1/options").json()["sd_model_checkpoint"] == "tiny-xl"
            assert read_parameters(drawn(http))["model"] == "tiny-xl"
        finally:
            http.post("/sdapi/v1/options", json={**options, "sd_model_checkpoint": "tiny"})
        assert read_parameters(drawn(http))["model"] == "tiny"

    def test_it_draws(self, http: httpx.Client) -> None:
        data = {"prompt": "a red apple", "batch_size": 2, "width": 64, "height": 64, "steps": 2}
        body = answered(http.post("/sdapi/v1/txt2img", json=data, headers={"authorization": ""}))
        seeds = [read_parameters(opened(image))["seed"] for image in body["images"]]
        assert seeds[1] == seeds[0] + 1
        assert json.loads(body["info"])["all_seeds"] == seeds


class TestSillyTavern:
    def headers(self) -> dict[str, str]:
        """Of a field for `user:password` that was left empty; HTTP takes the space behind it away."""
        return {"Authorization": "Basic"}

    @pytest.mark.parametrize(
        ("path", "name", "some"),
        [
            ("upscalers", "name", "None"),
            ("latent-upscale-modes", "name", None),
            ("sd-vae", "model_name", None),
            ("samplers", "name", "DPM++ 2M"),
            ("schedulers", "name", "karras"),
            ("sd-models", "title", "tiny"),
        ],
    )
    def test_its_lists(self, http: httpx.Client, path: str, name: str, some: str | None) -> None:
        found = [each[name] for each in http.get(f"/sdapi/v1/{path}", headers=self.headers()).json()]
        assert found == [] if some is None else some in found

    def test_it_waits_for_a_chosen_model(self, http: httpx.Client) -> None:
        chosen = http.post("/sdapi/v1/options", json={"sd_model_checkpoint": "tiny"}, headers=self.headers())
        assert chosen.status_code == 200
        progress = http.get("/sdapi/v1/progress", headers=self.headers()).json()
        assert (progress["progress"], progress["state"]["job_count"]) == (0.0, 0)

    def test_it_draws(self, http: httpx.Client) -> None:
        payload = {
            "url": "http://localhost:7860",
            "auth": "",
            "prompt": "a (red:1.2) apple",
            "negative_prompt": "blurry",
            "sampler_name": "DPM++ 2M",
            "scheduler": "karras",
            "steps": 3,
            "cfg_scale": 7,
            "width": 64,
            "height": 64,
            "restore_faces": False,
            "enable_hr": False,
            "hr_upscaler": "Latent",
            "hr_scale": 1.0,
            "hr_additional_modules": [],
            "denoising_strength": 0.7,
            "hr_second_pass_steps": 0,
            "seed": 5,
            "override_settings": {"CLIP_stop_at_last_layers": 2},
            "override_settings_restore_afterwards": True,
            "clip_skip": 2,
            "save_images": True,
            "send_images": True,
            "do_not_save_grid": False,
            "do_not_save_samples": False,
        }
        response = http.post("/sdapi/v1/txt2img", json=payload, headers=self.headers())
        body = answered(response)
        said = read_parameters(opened(body["images"][0]))
        assert {name: said[name] for name in ("scheduler", "clip_skip", "prompt_syntax", "seed", "guidance_scale")} == {
            "scheduler": "dpmpp_2m_karras",
            "clip_skip": 1,
            "prompt_syntax": "a1111",
            "seed": 5,
            "guidance_scale": 7.0,
        }
        assert response.headers["x-jubako-hint"] == "unknown fields are ignored: auth, url"

    def test_its_face_detailer_is_refused(self, http: httpx.Client) -> None:
        script = {"ADetailer": {"args": [True, True, {"ad_model": "face_yolov8n.pt"}]}}
        assert refused(http, alwayson_scripts=script) == (
            "alwayson_scripts",
            "there is no script 'ADetailer' here, only ControlNet",
        )


class TestLibreChat:
    """danny-avila/LibreChat, api/app/clients/tools/structured/StableDiffusion.js; its size is 1024x1024."""

    @pytest.mark.parametrize(
        ("chosen", "sampler"),
        [
            # At 7cacd8a4; later versions leave it out.
            ({"sampler_index": "DPM++ 2M Karras"}, "DPM++ 2M, Schedule type: Karras"),
            ({}, "DDIM"),
        ],
    )
    def test_it_draws_and_reads_what_is_said_of_it(
        self, chosen: dict[str, str], sampler: str, http: httpx.Client
    ) -> None:
        payload = {"prompt": "a red apple", "negative_prompt": "drawing", "cfg_scale": 4.5, "steps": 22, **chosen}
        body = answered(http.post("/sdapi/v1/txt2img", json={**payload, "width": 64, "height": 64}))
        info = json.loads(body["info"])
        assert (info["width"], info["height"], len(body["images"])) == (64, 64, 1)
        assert info["infotexts"][0].split("\n").pop().startswith(f"Steps: 22, Sampler: {sampler}, ")
        assert f"Seed: {info['seed']}, " in info["infotexts"][0]


class TestImagesFromPrompts:
    def test_the_text_of_an_image_is_the_web_uis_with_ours_beside_it(self, http: httpx.Client) -> None:
        body = answered(
            http.post(
                "/sdapi/v1/txt2img",
                json={**ASKED, "negative_prompt": "blurry", "cfg_scale": 2.5, "sampler_name": "Euler a"},
            )
        )
        info = json.loads(body["info"])
        (image,) = map(opened, body["images"])
        text = image.info["parameters"]
        assert text == info["infotexts"][0]
        assert text.startswith(
            "a red apple\nNegative prompt: blurry\nSteps: 2, Sampler: Euler a, Schedule type: Automatic, "
            "CFG scale: 2.5, Seed: 7, Size: 64x64, Model: tiny, Version: Jubako "
        )
        assert json.loads(image.info["jubako"])["scheduler"] == "euler_a"
        assert (info["seed"], info["sampler_name"], info["steps"], info["clip_skip"]) == (7, "Euler a", 2, 1)
        assert body["parameters"]["seed"] == 7

    def test_they_are_those_of_other_contracts(self, http: httpx.Client) -> None:
        ours = {"prompt": "a red apple", "num_inference_steps": 2, "seed": 7, "width": 64, "height": 64}
        plain = Image.open(BytesIO(http.post("/text_to_image", json=ours).content))
        assert drawn(http).tobytes() == plain.tobytes()

    def test_parts_follow_one_another_with_seeds_that_go_on(self, http: httpx.Client) -> None:
        body = answered(http.post("/sdapi/v1/txt2img", json={**ASKED, "batch_size": 2, "n_iter": 2}))
        assert [read_parameters(opened(image))["seed"] for image in body["images"]] == [7, 8, 9, 10]
        assert largest_difference(opened(body["images"][3]), drawn(http, seed=10)) <= 1

    def test_minus_one_is_any_seed(self, http: httpx.Client) -> None:
        body = answered(http.post("/sdapi/v1/txt2img", json={**ASKED, "seed": -1, "send_images": False}))
        assert body["images"] == []
        assert json.loads(body["info"])["seed"] >= 0
        assert body["parameters"]["seed"] is None

    def test_a_model_for_one_request(self, http: httpx.Client) -> None:
        image = drawn(http, override_settings={"sd_model_checkpoint": "tiny-xl.safetensors [31e35c80fc]"})
        assert read_parameters(image)["model"] == "tiny-xl"

    def test_a_control_net_by_its_extensions_units(self, http: httpx.Client) -> None:
        unit = {"image": in_base64(half_mask()), "module": "none", "model": "control_v11p_sd15_canny [d14c016b]"}
        image = drawn(http, alwayson_scripts={"ControlNet": {"args": [{**unit, "weight": 0.5}]}})
        ours = {"prompt": "a red apple", "num_inference_steps": "2", "seed": "7", "width": "64", "height": "64"}
        control = {"control_type": "canny", "control_scale": "0.5"}
        files = {"control_image": png(half_mask())}
        same = http.post("/text_to_image", data={**ours, **control}, files=files)
        assert image.tobytes() == Image.open(BytesIO(same.content)).tobytes()
        assert http.get("/controlnet/model_list").json() == {"model_list": ["canny", "depth", "ip-adapter"]}

    def test_an_ip_adapter_is_a_unit_too(self, http: httpx.Client) -> None:
        unit = {"image": in_base64(photo(100, 80)), "module": "ip-adapter-auto", "model": "ip-adapter_sd15"}
        image = drawn(http, alwayson_scripts={"controlnet": {"args": [{**unit, "weight": 0.8}]}})
        assert read_parameters(image)["reference_scale"] == 0.8


class TestHiresFix:
    def test_the_image_is_upscaled_and_denoised_again(self, http: httpx.Client) -> None:
        """As SillyTavern asks for it; all second steps are done, whatever the strength."""
        fields = {"hr_upscaler": "Latent", "hr_second_pass_steps": 3, "denoising_strength": 0.7, "hr_sampler_name": ""}
        response = http.post("/sdapi/v1/txt2img", json={**ASKED, **HIRES, **fields})
        body = answered(response)
        image, info = opened(body["images"][0]), json.loads(body["info"])
        assert image.size == (80, 80)
        assert read_parameters(image)["hires"] == {
            "width": 80,
            "height": 80,
            "strength": 0.7,
            "num_inference_steps": 5,
        }
        assert (info["width"], info["denoising_strength"]) == (64, 0.7)
        assert info["extra_generation_params"]["Hires resize"] == "80x80"
        assert (
            "Denoising strength: 0.7, Hires resize: 80x80, Hires steps: 3, Hires upscaler: Lanczos"
            in (info["infotexts"][0])
        )
        assert response.headers["x-jubako-hint"] == "hr_upscaler is ignored: images are upscaled by Lanczos"

    def test_sides_take_the_place_of_the_scale(self, http: httpx.Client) -> None:
        assert drawn(http, **HIRES, hr_resize_x=96, hr_resize_y=48).size == (96, 48)
        assert drawn(http, width=64, height=32, **HIRES, hr_resize_y=48).size == (96, 48)

    def test_steps_beyond_the_model_are_told(self, http: httpx.Client) -> None:
        fields = {**ASKED, "steps": 1, **HIRES, "hr_second_pass_steps": 10, "denoising_strength": 0.01}
        response = http.post("/sdapi/v1/txt2img", json=fields)
        assert opened(answered(response)["images"][0]).size == (80, 80)
        assert "10 became 9, all that tiny does" in response.headers["x-jubako-hint"]


class TestImagesFromImages:
    def test_an_image_is_changed_by_its_strength(self, http: httpx.Client) -> None:
        image = drawn(http, "img2img", init_images=[in_base64(photo())], denoising_strength=0.5, steps=4)
        assert read_parameters(image)["task"] == "image-to-image"
        assert "Denoising strength: 0.5" in image.info["parameters"]

    @pytest.mark.parametrize("resize_mode", [0, 1, 2])
    def test_it_comes_to_the_size_by_its_mode(self, http: httpx.Client, resize_mode: int) -> None:
        wide = "data:image/png;base64," + in_base64(photo(*WIDE))
        image = drawn(http, "img2img", init_images=[wide], resize_mode=resize_mode)
        assert image.size == (64, 64)
        assert read_parameters(image)["fit"] == ("stretch", "crop", "pad")[resize_mode]

    @pytest.mark.parametrize("inverted", [0, 1])
    @pytest.mark.parametrize("fill", [0, 1, 2])
    def test_only_what_is_masked_is_repainted_and_put_into_the_image(
        self, http: httpx.Client, inverted: int, fill: int
    ) -> None:
        fields = {"inpainting_fill": fill, "inpainting_mask_invert": inverted, "mask_blur": 0, "inpaint_full_res": True}
        inputs = {"init_images": [in_base64(photo(*WIDE))], "mask": in_base64(half_mask(*WIDE))}
        image = drawn(http, "img2img", **inputs, **fields)
        assert image.size == WIDE
        kept = (np.asarray(half_mask(*WIDE)) == 0) ^ bool(inverted)
        assert (np.asarray(image)[kept] == np.asarray(photo(*WIDE))[kept]).all()
        assert (np.asarray(image)[~kept] != np.asarray(photo(*WIDE))[~kept]).mean() > 0.5

    def test_all_of_it_in_the_size_that_is_asked_for(self, http: httpx.Client) -> None:
        inputs = {"init_images": [in_base64(photo(*WIDE))], "mask": in_base64(half_mask(*WIDE))}
        image = drawn(http, "img2img", **inputs, mask_blur=2, inpaint_full_res=False)
        assert image.size == (64, 64)
        small = photo(*WIDE).resize((64, 64), Image.Resampling.LANCZOS)
        left = np.s_[:, :20]
        assert (np.asarray(image)[left] == np.asarray(small)[left]).all()

    def test_an_empty_mask_changes_nothing(self, http: httpx.Client) -> None:
        inputs = {"init_images": [in_base64(photo())], "mask": in_base64(Image.new("L", (64, 64)))}
        assert drawn(http, "img2img", **inputs).tobytes() == photo().tobytes()


class TestWhileItIsDrawn:
    def test_progress_has_steps_and_a_preview_and_an_interrupt_ends_it(self, http: httpx.Client) -> None:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(http.post, "/sdapi/v1/txt2img", json={**LONG, "n_iter": 2})
            wait_for(lambda: http.get("/sdapi/v1/progress").json()["current_image"] is not None)
            seen = http.get("/sdapi/v1/progress").json()
            assert http.get("/sdapi/v1/progress", params={"skip_current_image": True}).json()["current_image"] is None
            assert http.post("/sdapi/v1/interrupt").json() == {}
            body = answered(waiting.result())
        assert opened(seen["current_image"]).size == (64, 64)
        state = seen["state"]
        assert (state["job"], state["job_count"], state["sampling_steps"]) == ("txt2img", 2, 900)
        assert 0 < state["sampling_step"] < 900
        assert 0 < seen["progress"] < 1
        assert body["images"] == []
        assert http.get("/sdapi/v1/progress").json()["progress"] == 0

    def test_skip_goes_on_with_the_next(self, http: httpx.Client) -> None:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(http.post, "/sdapi/v1/txt2img", json={**LONG, "steps": 400, "n_iter": 2})
            wait_for(lambda: http.get("/sdapi/v1/progress").json()["state"]["sampling_step"] > 0)
            assert http.post("/sdapi/v1/skip").json() is None
            wait_for(lambda: http.get("/sdapi/v1/progress").json()["state"]["job_no"] == 1)
            body = answered(waiting.result())
        (image,) = body["images"]
        assert read_parameters(opened(image))["seed"] == 8

    def test_nothing_to_end_is_no_mistake(self, http: httpx.Client) -> None:
        assert http.post("/sdapi/v1/interrupt").status_code == http.post("/sdapi/v1/skip").status_code == 200


class TestOtherRoutes:
    def test_what_there_is_none_of(self, http: httpx.Client) -> None:
        names = ("hypernetworks", "face-restorers", "realesrgan-models", "prompt-styles", "script-info", "extensions")
        assert [http.get(f"/sdapi/v1/{name}").json() for name in names] == [[]] * len(names)
        assert http.post("/sdapi/v1/refresh-checkpoints").json() is None

    def test_lists_of_the_callers_model(self, http: httpx.Client) -> None:
        assert http.get("/sdapi/v1/embeddings").json() == {"loaded": {}, "skipped": {}}
        assert http.get("/sdapi/v1/loras").json() == []
        assert http.get("/sdapi/v1/scripts").json() == {"txt2img": ["controlnet"], "img2img": ["controlnet"]}
        assert http.get("/sdapi/v1/cmd-flags").json()["api"] is True
        memory = http.get("/sdapi/v1/memory").json()
        assert memory["ram"]["total"] == memory["ram"]["free"] + memory["ram"]["used"]
        assert memory["cuda"] == {"error": "unavailable"}

    @pytest.mark.parametrize("ours", [True, False])
    def test_an_image_says_how_it_was_drawn(self, http: httpx.Client, ours: bool) -> None:
        fields = {"prompt": "a red apple", "num_inference_steps": 2, "seed": 7}
        file = http.post("/text_to_image", json=fields).content if ours else png_with_text(drawn(http))
        body = answered(http.post("/sdapi/v1/png-info", json={"image": base64.b64encode(file).decode()}))
        assert body["info"].startswith("a red apple\nSteps: 2, Sampler: DDIM")
        assert {name: body["parameters"][name] for name in ("Prompt", "Seed", "Size-1", "Size-2", "Model")} == {
            "Prompt": "a red apple",
            "Seed": "7",
            "Size-1": "64",
            "Size-2": "64",
            "Model": "tiny",
        }

    def test_an_image_without_a_text(self, http: httpx.Client) -> None:
        body = answered(http.post("/sdapi/v1/png-info", json={"image": in_base64(photo())}))
        assert body == {"info": "", "items": {}, "parameters": {}}

    def test_an_image_is_resized(self, http: httpx.Client) -> None:
        fields = {"image": in_base64(photo()), "upscaler_1": "Lanczos", "upscaling_resize": 2}
        larger = opened(answered(http.post("/sdapi/v1/extra-single-image", json=fields))["image"])
        assert larger.tobytes() == photo().resize((128, 128), Image.Resampling.LANCZOS).tobytes()
        fields |= {"resize_mode": 1, "upscaling_resize_w": 100, "upscaling_resize_h": 50}
        assert opened(answered(http.post("/sdapi/v1/extra-single-image", json=fields))["image"]).size == (100, 50)


class TestMistakes:
    @pytest.mark.parametrize(
        ("fields", "wrong", "word"),
        [
            ({"prompt": ""}, "prompt", "empty"),
            ({"steps": 0}, "steps", "greater"),
            ({"steps": 901}, "steps", "900"),
            ({"cfg_scale": 21}, "cfg_scale", "20"),
            ({"width": 63}, "width", "multiple"),
            ({"seed": -2}, "seed", "-1"),
            ({"batch_size": 5, "n_iter": 4}, "n_iter", "16"),
            ({"sampler_name": "Restart"}, "sampler_name", "unknown"),
            ({"scheduler": "kl_optimal"}, "scheduler", "karras"),
            ({"sampler_name": "Euler a", "scheduler": "karras"}, "scheduler", "sgm_uniform"),
            ({"enable_hr": True}, "hr_scale", "at most 8192"),
            ({**HIRES, "hr_resize_x": 90}, "hr_resize_x", "multiple"),
            ({**HIRES, "denoising_strength": 0}, "denoising_strength", "no step"),
            ({**HIRES, "hr_second_pass_steps": -1}, "hr_second_pass_steps", "greater"),
            ({**HIRES, "hr_upscaler": "R-ESRGAN 4x+"}, "hr_upscaler", "Lanczos"),
            ({**HIRES, "hr_prompt": "a blue apple"}, "hr_prompt", "like the first"),
            ({**HIRES, "hr_checkpoint_name": "tiny-xl"}, "hr_checkpoint_name", "like the first"),
            ({"restore_faces": True}, "restore_faces", "face"),
            ({"tiling": True}, "tiling", "border"),
            ({"subseed_strength": 0.2}, "subseed_strength", "seed"),
            ({"script_name": "X/Y/Z plot"}, "script_name", "scripts"),
            ({"refiner_checkpoint": "tiny-xl"}, "refiner_checkpoint", "one model"),
            ({"override_settings": {"sd_vae": "vae-ft-mse.safetensors"}}, "override_settings", "sd_vae"),
            ({"override_settings": 7}, "override_settings", "dictionary"),
            ({"prompt": "an apple <lora:nobody:1>"}, "prompt", "nobody"),
            ({"alwayson_scripts": {"controlnet": {"args": [{"module": "canny"}]}}}, "alwayson_scripts", "preprocessor"),
            ({"alwayson_scripts": {"controlnet": {"args": [{"image": "??"}]}}}, "alwayson_scripts", "base64"),
            ({"alwayson_scripts": {"controlnet": {"args": {}}}}, "alwayson_scripts", "list"),
        ],
    )
    def test_they_are_named(self, http: httpx.Client, fields: dict[str, Any], wrong: str, word: str) -> None:
        field, reason = refused(http, **fields)
        assert field == wrong
        assert word in reason

    @pytest.mark.parametrize(
        ("fields", "wrong", "word"),
        [
            ({}, "init_images", "required"),
            ({"init_images": []}, "init_images", "required"),
            ({"init_images": ["http://a/b.png"]}, "init_images", "base64"),
            ({"init_images": ["aGFsbG8="]}, "init_images", "not an image"),
            ({"init_images": [in_base64(photo())] * 2}, "init_images", "one image"),
            ({"init_images": [in_base64(photo())], "mask": "aGFsbG8="}, "mask", "not an image"),
            ({"init_images": [in_base64(photo())], "denoising_strength": 1.1}, "denoising_strength", "1"),
            ({"init_images": [in_base64(photo())], "resize_mode": 4}, "resize_mode", "3"),
            ({"init_images": [in_base64(photo())], "enable_hr": True}, "enable_hr", "txt2img"),
        ],
    )
    def test_those_with_images(self, http: httpx.Client, fields: dict[str, Any], wrong: str, word: str) -> None:
        field, reason = refused(http, "img2img", **fields)
        assert field == wrong
        assert word in reason

    def test_those_of_other_routes(self, http: httpx.Client) -> None:
        assert refused(http, "png-info")[0] == "image"
        assert refused(http, "extra-single-image", image=in_base64(photo()), upscaler_1="R-ESRGAN 4x+") == (
            "upscaler_1",
            "'R-ESRGAN 4x+' is not here; known: None, Lanczos, Nearest",
        )
        assert refused(http, "extra-single-image", image=in_base64(photo()), gfpgan_visibility=1)[0] == (
            "gfpgan_visibility"
        )
        size = {"resize_mode": 1, "upscaling_resize_w": 8192, "upscaling_resize_h": 4096}
        assert refused(http, "extra-single-image", image=in_base64(photo()), upscaler_1="Lanczos", **size) == (
            "upscaling_resize_w",
            "makes 8192x4096 pixels; at most 16777216 are allowed",
        )

    def test_an_unknown_model_and_an_unknown_address(self, http: httpx.Client) -> None:
        for answer in (
            http.post("/sdapi/v1/options", json={"sd_model_checkpoint": "nobody"}),
            http.post("/sdapi/v1/txt2img", json={**ASKED, "override_settings": {"sd_model_checkpoint": "nobody"}}),
            http.post("/sdapi/v1/interrogate", json={}),
        ):
            assert answer.status_code == 404
            assert set(answer.json()) == {"error", "detail", "body", "errors"}

    def test_what_does_nothing_is_in_the_hint(self, http: httpx.Client) -> None:
        fields = {"styles": ["anime"], "s_churn": 0, "override_settings": {"eta_noise_seed_delta": 31337}}
        hint = http.post("/sdapi/v1/txt2img", json={**ASKED, **fields, "eta": 1.0}).headers["x-jubako-hint"]
        assert hint == (
            "styles is ignored: there is no such thing here; "
            "override_settings.eta_noise_seed_delta is ignored: it is not a setting here"
        )


def png_with_text(image: Image.Image) -> bytes:
    """Return an image as the web UI saves it: with its text alone."""
    text = PngInfo()
    text.add_text("parameters", image.info["parameters"])
    buffer = BytesIO()
    image.save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()
