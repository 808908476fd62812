"""The tabs Video, Storyboard, and Jobs and models of the page `/ui`, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect
from safetensors.numpy import save_file

from client.jubako import Jubako
from tests.support.browser import CHROMIUM, Browsed
from tests.support.servers.openai_server import MAX_LORA_BYTES
from tests.support.servers.replica import Replica
from tests.support.ui_page import open_tab, start_drawing, true_meanwhile

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (tools/need-chromium)")


APPEARING = """
    document.querySelector(".story figcaption")?.textContent === "1. An apple" &&
    document.querySelector(".story img") && !document.querySelector("#story-images img")
"""
IN_HAND = 32
"""Jobs of one priority that a server has in hand, by default: further ones wait."""


@pytest.fixture
def page(browsed: Browsed) -> Iterator[Page]:
    with open_tab(browsed, "Create") as page:
        yield page


def panel(page: Page, has: str) -> Locator:
    """The tab that has an element."""
    return page.get_by_role("tabpanel").filter(has=page.locator(has))


def test_a_video_is_drawn_and_shown(page: Page) -> None:
    page.get_by_role("tab", name="Video").click()
    tab = panel(page, "#video-draw")
    tab.get_by_label("Prompt", exact=True).fill("a red apple")
    tab.locator("#video-draw").click()
    expect(tab.locator("#video-clip video")).to_be_visible()
    expect(tab.locator("#video-stage")).to_contain_text("Drawn in")


def test_frames_of_a_story_appear_and_can_be_kept(page: Page) -> None:
    page.get_by_role("tab", name="Storyboard").click()
    tab = panel(page, "#story-draw")
    tab.get_by_label("Model").click()
    page.get_by_role("option", name="miniature").click()
    tab.get_by_role("button", name="Use an example").click()
    expect(tab.get_by_label("Story", exact=True)).not_to_have_value("")
    tab.get_by_text("Plan", exact=True).click()
    tab.get_by_role("button", name="Plan it").click()
    cell = tab.locator("#story-scenes").get_by_role("gridcell").first
    expect(cell).not_to_have_text("")
    cell.dblclick()
    expect(tab.locator("#story-scenes textarea:focus")).to_be_visible()
    page.keyboard.press("Control+a")
    page.keyboard.type("An apple")
    page.keyboard.press("Enter")
    expect(cell).to_contain_text("An apple")
    with true_meanwhile(page, APPEARING):
        tab.locator("#story-draw").click()
        expect(tab.locator("#story-images img").first).to_be_visible()
    for name in ("story.zip", "story.pdf"):
        expect(tab.locator("#story-files")).to_contain_text(name.partition(".")[0])
    before = tab.locator("#story-images img").first.get_attribute("src")
    expect(tab.locator("#story-files")).not_to_contain_text("sheet")
    tab.locator("#story-images img").first.click()
    tab.get_by_role("button", name="Draw frame 1 again").click()
    expect(tab.locator("#story-images img").first).not_to_have_attribute("src", before or "")
    expect(tab.locator("#story-files")).to_contain_text("sheet")


def test_a_story_is_drawn_as_edits_of_its_characters(page: Page, openai_server: Replica) -> None:
    page.get_by_role("tab", name="Storyboard").click()
    tab = panel(page, "#story-draw")
    tab.get_by_label("Model").click()
    page.get_by_role("option", name="tiny-edit").click()
    tab.get_by_label("Story", exact=True).fill("A fox finds a red apple and gives it to an owl")
    tab.get_by_label("Characters, the main one first").fill("fox: a red fox\nowl: a white owl")
    tab.get_by_text("Settings", exact=True).click()
    tab.get_by_label("Steps").first.fill("1")
    tab.locator("#story-draw").click()
    expect(tab.locator("#story-images img").first).to_be_visible()
    tab.locator("#story-images img").nth(1).click()
    tab.get_by_role("button", name="Draw frame 2 again").click()
    expect(tab.get_by_role("button", name="Choose a frame to draw it again")).to_be_visible()
    with Jubako(openai_server.url) as jubako:
        again, story = jubako.jobs(limit=2)
        assert [again.task, story.task] == ["edit", "storyboard"]
        # story.json, the frames, the sheet, the references
        assert len(story.results) == 1 + 8 + 1 + 2


def test_a_clip_is_varied(page: Page, openai_server: Replica) -> None:
    with Jubako(openai_server.url) as jubako:
        clip = jubako.submit("a red apple", "text_to_video", model="tiny-video", num_frames=5, seed=11)
        jubako.wait(clip)
        # It lists what there is when it is opened.
        page.get_by_role("tab", name="Gallery").click()
        page.locator("#gallery .thumbnail-item").first.click()
        expect(page.locator("#about")).to_contain_text("num frames5")
        page.get_by_role("button", name="Vary").click()
        tab = panel(page, "#video-draw")
        expect(tab.locator("#video-stage")).to_contain_text("Drawn in")
        newest = jubako.jobs(limit=1)[0]
    assert (newest.task, newest.model, len(newest.results)) == ("text-to-video", "tiny-video", 1)
    assert newest.id != clip.id
    assert newest.results[0]["seed"] != 11


def test_menus_say_how_models_are(page: Page, openai_server: Replica) -> None:
    menu = page.get_by_label("Model").first
    menu.click()
    page.get_by_role("option", name="miniature").click()
    for act, state in (("unload", "loaded on demand"), ("load", "ready")):
        httpx.post(f"{openai_server.url}/models/miniature/{act}", json={}, timeout=60).raise_for_status()
        expect(menu).to_have_value(f"miniature ({state})")


def test_loras_may_be_larger_than_images_and_not_than_the_api_takes(
    page: Page, openai_server: Replica, tmp_path: Path
) -> None:
    page.get_by_role("tab", name="Jobs and models").click()
    tab = panel(page, "#lora")
    for name, size in (("large", MAX_LORA_BYTES - 2**16), ("larger", MAX_LORA_BYTES + 2**16)):
        save_file({"unet.x.lora_A.weight": np.zeros(size // 4, np.float32)}, tmp_path / f"{name}.safetensors")
    upload = tab.locator("#lora input[type=file]")
    upload.set_input_files(tmp_path / "larger.safetensors")
    expect(page.get_by_text("exceed the maximum allowed size")).to_be_visible()
    upload.set_input_files(tmp_path / "large.safetensors")
    expect(tab.get_by_text("Requests to tiny-edit may name it now.")).to_be_visible()
    served = openai_server.get("/models").json()["models"]
    assert list(served[0]["loras"]) == ["large"]


def test_a_job_gets_another_priority_until_it_is_drawn(page: Page, openai_server: Replica) -> None:
    with Jubako(openai_server.url) as jubako:
        *slow, waiting = jubako.batch(["a red apple"] * (IN_HAND + 1), model="tiny", num_inference_steps=900)
        page.get_by_role("tab", name="Jobs and models").click()
        tab = panel(page, "#jobs")
        tab.get_by_role("gridcell", name=waiting.id).click()
        tab.get_by_label("Priority of the job").click()
        page.get_by_role("option", name="high").click()
        expect(tab.get_by_text(f"{waiting.id} has high priority.")).to_be_visible()
        expect(tab.get_by_role("row").filter(has_text=waiting.id)).to_contain_text("high")
        for job in (*slow, waiting):
            jubako.cancel(job)


def test_a_waiting_job_is_seen_and_cancelled(page: Page, openai_server: Replica) -> None:
    start_drawing(page, steps=900)
    expect(page.locator("#create-stage progress")).to_be_visible()
    with Jubako(openai_server.url) as jubako:
        job = jubako.jobs(limit=1)[0]
    page.get_by_role("tab", name="Jobs and models").click()
    tab = panel(page, "#jobs")
    row = tab.get_by_role("row").filter(has_text=job.id)
    row.get_by_role("gridcell", name="processing").click()
    tab.get_by_role("button", name=f"Cancel {job.id}").click()
    expect(tab.get_by_text("Cancelled.")).to_be_visible()
    expect(tab.locator("#models")).to_contain_text("ready")
    expect(tab.locator("#models")).to_contain_text(re.compile(r"[\d.]+ of [\d.]+"))
