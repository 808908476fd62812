"""What a caller's rates count, and what a key may ask for."""

from __future__ import annotations

from typing import Any, cast

import pytest
from PIL import Image

from access.keys import Keyring
from access.rates import RateLimiter
from api.inpainting import InpaintingForm, generate
from core.caller import Caller, Rates, set_caller
from core.errors import Forbidden, InvalidRequest, RateExceeded
from core.generation.draft import Draft
from core.generation.request import GenerationRequest, Method, Priority, Task
from gateway.gateway import Gateway
from gateway.safety.content_policy import ContentPolicy
from models.catalogue.catalogue import full_catalogue
from models.catalogue.resolving.resolve import ServerLimits
from settings import Settings
from settings.sections.access import AccessOptions
from tests.support.servers.serving import half_mask, png


def wanted(**fields: Any) -> GenerationRequest:
    usual = {"width": 100, "height": 100, "num_inference_steps": 10, "guidance_scale": 1, "seed": 0}
    return GenerationRequest.model_validate(
        {"model": "tiny", "task": Task.TEXT_TO_IMAGE, "prompt": "", "scheduler": "ddim", **usual, **fields}
    )


async def left(limiter: RateLimiter, caller: Caller, what: str) -> str:
    return (await limiter.headers(caller))[f"x-ratelimit-remaining-{what}"]


async def test_steps_are_counted_over_all_images() -> None:
    limiter, caller = RateLimiter(None), Caller("alice", rates=Rates(steps_per_min=100))
    set_caller(caller)
    await limiter.charge(wanted(num_images=3))
    await limiter.charge(wanted(task=Task.IMAGE_TO_IMAGE, strength=0.5))
    await limiter.charge(wanted(task=Task.INPAINT, method=Method.TOKEN_OPT, iterations=50))
    assert await left(limiter, caller, "steps") == "15"
    with pytest.raises(RateExceeded, match="more than 100 steps a minute"):
        await limiter.charge(wanted(num_images=2))
    with pytest.raises(InvalidRequest, match="num_inference_steps: the request has 101 steps"):
        await limiter.charge(wanted(num_inference_steps=101))


async def test_what_one_limit_refuses_does_not_use_up_another() -> None:
    limiter, caller = RateLimiter(None), Caller("alice", rates=Rates(megapixels_per_min=1, steps_per_min=20))
    set_caller(caller)
    with pytest.raises(InvalidRequest, match="num_inference_steps"):
        await limiter.charge(wanted(num_inference_steps=21))
    await limiter.charge(wanted(num_inference_steps=15))
    with pytest.raises(RateExceeded, match="steps"):
        await limiter.charge(wanted())
    assert await left(limiter, caller, "megapixels") == "0.99"


async def test_pixels_that_are_only_decoded_or_encoded_count_too() -> None:
    limiter, caller = RateLimiter(None), Caller("alice", rates=Rates(megapixels_per_min=2))
    set_caller(caller)
    await limiter.charge(wanted(), 1_000_000)
    assert await left(limiter, caller, "megapixels") == "0.99"


async def test_requests_that_come_together_count_each() -> None:
    limiter, caller = RateLimiter(None), Caller("alice", rates=Rates(requests_per_min=5))
    set_caller(caller)
    await limiter.count_request(caller)
    await limiter.count_further(3)
    assert await left(limiter, caller, "requests") == "1"
    with pytest.raises(RateExceeded):
        await limiter.count_further(2)
    with pytest.raises(InvalidRequest, match="requests: the request has 9 requests"):
        await limiter.count_further(9)


def test_a_draft_knows_the_pixels_that_were_decoded_for_it() -> None:
    image, mask = Image.new("RGB", (30, 20)), Image.new("L", (30, 20))
    assert Draft(prompt="a", image=image, mask=mask, images=(image, image)).decoded_px == 4 * 600
    assert Draft(prompt="a").decoded_px == 0


async def test_a_key_may_be_without_high_priority() -> None:
    set_caller(Caller("alice", best_priority=Priority.NORMAL))
    await RateLimiter(None).charge(wanted())
    with pytest.raises(Forbidden, match="priority: this key may have normal at best"):
        await RateLimiter(None).charge(wanted(priority=Priority.HIGH))


def test_a_caller_is_found_again_by_name_with_what_the_key_allows_today() -> None:
    keys = Keyring.of(AccessOptions(api_keys={"alice": "0123456789abcdef"}, rate_requests_per_min=5))
    assert keys.named("alice", anonymous=False) == Caller("alice", rates=Rates(requests_per_min=5))
    assert keys.named("gone", anonymous=False) == Caller("gone", rates=Rates(requests_per_min=5))
    assert keys.named("10.0.0.1", anonymous=True) == keys.anonymous("10.0.0.1")


def test_callers_without_a_key_are_one_user_and_an_admin_sees_all() -> None:
    nobody, alice = Caller("10.0.0.1", anonymous=True), Caller("alice")
    assert nobody.owner == Caller("10.0.0.2", anonymous=True).owner
    assert nobody.owner != Caller("10.0.0.1").owner, "a key may be named like an address"
    assert alice.sees("alice")
    assert not alice.sees("bob")
    assert not alice.sees(nobody.owner)
    assert Caller("admin", admin=True).sees("alice")


class Refusal:
    """A meter that notes what it is asked for, and allows nothing."""

    charged_px = 0

    async def count_further(self, requests: int) -> None:
        raise AssertionError("nothing else came with it")

    async def charge(self, request: GenerationRequest, other_px: int = 0) -> None:
        self.charged_px = request.width * request.height * request.num_images + other_px
        raise RateExceeded("nothing is left")

    async def charge_pixels(self, field: str, pixels: int) -> None:
        raise AssertionError("models are asked for all of them")


async def test_an_inpainting_pays_for_its_upload_and_for_images_of_that_size() -> None:
    meter = Refusal()
    catalogue = full_catalogue(Settings().catalogue)
    limits = ServerLimits(max_prompt_chars=100, max_num_images=8, max_deadline_s=60)
    gateway = Gateway(catalogue, {}, limits, cast(Any, None), meter, ContentPolicy())
    image, mask = png(Image.new("RGB", (600, 400))), png(half_mask(600, 400))
    form = InpaintingForm.of(
        prompt="an apple", input_image=image, mask_image=mask, num_generations=8, model="miniature"
    )
    with pytest.raises(RateExceeded):
        await generate(gateway, form)
    assert meter.charged_px == (2 + 8) * 600 * 400, "an image, its mask, and eight images of their size"
