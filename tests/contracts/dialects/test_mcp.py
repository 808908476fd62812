"""The Model Context Protocol: the SDK's own client, in both of the protocol's eras, against a real server."""

from __future__ import annotations

import base64
import random
from types import SimpleNamespace
from typing import Any

import anyio
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from mcp import MCPError
from mcp_types import CallToolRequestParams
from PIL import Image

from api.mcp import server
from api.mcp.answers import SHOWN_BYTES, _shown
from api.mcp.tools import TOOLS
from tests.support.mcp_client import Era, Told, agent, fields_of, images_of
from tests.support.metadata import read_parameters
from tests.support.servers.replica import Replica
from tests.support.servers.serving import half_mask, photo, png, wait_for
from tests.support.web import WEB

APPLE = {"prompt": "a red apple", "model": "tiny", "seed": 7}
STORY = "A little fox looks for its friends in the forest"
ENDLESS = {**APPLE, "num_inference_steps": 900, "num_images": 4}


def base64_of(file: bytes) -> str:
    return base64.b64encode(file).decode()


@pytest.mark.parametrize("era", ["auto", "legacy"])
class TestBothEras:
    async def test_an_image_comes_as_content_and_its_progress_before(self, era: Era, openai_server: Replica) -> None:
        # An equal request with a seed would be answered by the earlier one's result.
        told, seed = Told(), {"auto": 107, "legacy": 108}[era]
        async with agent(openai_server.url, era) as client:
            result = await client.call_tool("generate_image", {**APPLE, "seed": seed}, progress_callback=told)
        (image,) = images_of(result)
        assert (image.format, image.size, read_parameters(image)["seed"]) == ("PNG", (64, 64), seed)
        fields = fields_of(result)
        assert (fields["status"], fields["model"], fields["results"][0]["seed"]) == ("completed", "tiny", seed)
        assert WEB.get(fields["results"][0]["url"]).headers["content-type"] == "image/png"
        assert told.progress == sorted(set(told.progress))
        assert told.progress[-1] == 100
        assert any(message.startswith("Step ") for message in told.messages)

    async def test_a_caller_who_leaves_cancels(self, era: Era, openai_server: Replica) -> None:
        def newest() -> list[str]:
            jobs: list[dict[str, str]] = WEB.get(f"{openai_server.url}/api/jobs?limit=1").json()["jobs"]
            return [job["session_id"] for job in jobs]

        before = newest()
        async with agent(openai_server.url, era) as client, anyio.create_task_group() as calling:
            calling.start_soon(client.call_tool, "generate_image", ENDLESS)
            await anyio.to_thread.run_sync(wait_for, lambda: newest() != before)
            calling.cancel_scope.cancel()
        address = f"{openai_server.url}/api/{newest()[0]}/status"
        wait_for(lambda: WEB.get(address).json()["status"] == "cancelled")

    async def test_a_mistake_is_a_result_that_names_the_field(self, era: Era, openai_server: Replica) -> None:
        async with agent(openai_server.url, era) as client:
            result = await client.call_tool("generate_image", {**APPLE, "width": 7})
        assert result.is_error
        fields = fields_of(result)
        assert (fields["code"], fields["field"]) == ("invalid_request", "width")
        assert fields["error"].startswith("width: ")


class TestTools:
    async def test_all_are_listed_with_schemas_that_hold(self, openai_server: Replica) -> None:
        async with agent(openai_server.url) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert list(tools) == [
            *("generate_image", "edit_image", "inpaint", "generate_video", "storyboard"),
            *("list_models", "job_status"),
        ]
        for tool in tools.values():
            Draft202012Validator.check_schema(tool.input_schema)
            assert "binary" not in str(tool.input_schema)
        Draft202012Validator(tools["generate_image"].input_schema).validate(APPLE)
        assert tools["inpaint"].input_schema["required"] == ["prompt", "image", "mask"]

    async def test_a_result_is_the_input_of_the_next_call(self, openai_server: Replica) -> None:
        async with agent(openai_server.url) as client:
            first = fields_of(await client.call_tool("generate_image", {**APPLE, "num_images": 2}))["job"]
            edited = await client.call_tool("edit_image", {"prompt": "blue", "images": [first, f"{first}/1"]})
            changed = await client.call_tool("edit_image", {**APPLE, "images": [first], "strength": 0.5})
            missing = await client.call_tool("edit_image", {"prompt": "blue", "images": [f"{first}/2"]})
        # The first model that edits, and one that can only start from an image.
        assert read_parameters(images_of(edited)[0])["task"] == "edit"
        assert read_parameters(images_of(changed)[0])["task"] == "image-to-image"
        assert fields_of(missing)["field"] == "images"

    async def test_a_second_pass_makes_it_larger(self, openai_server: Replica) -> None:
        hires = {"width": 80, "strength": 0.6}
        async with agent(openai_server.url) as client:
            result = await client.call_tool("generate_image", {**APPLE, "hires": hires})
        (image,) = images_of(result)
        assert (image.size, read_parameters(image)["hires"]["strength"]) == ((80, 80), 0.6)

    async def test_a_mask_keeps_the_rest_of_an_edited_image(self, openai_server: Replica) -> None:
        files = {"images": [base64_of(png(photo()))], "mask": base64_of(png(half_mask()))}
        async with agent(openai_server.url) as client:
            result = await client.call_tool("edit_image", {"prompt": "blue", "seed": 7, **files})
        (image,) = images_of(result)
        kept = np.asarray(half_mask()) == 0
        assert read_parameters(image)["task"] == "edit"
        assert (np.asarray(image)[kept] == np.asarray(photo())[kept]).all()
        assert (np.asarray(image)[~kept] != np.asarray(photo())[~kept]).any()

    async def test_it_repaints_under_a_mask(self, openai_server: Replica) -> None:
        files = {"image": base64_of(png(photo())), "mask": "data:image/png;base64," + base64_of(png(half_mask()))}
        async with agent(openai_server.url) as client:
            result = await client.call_tool("inpaint", {"prompt": "a red apple", "seed": 7, **files})
        (image,) = images_of(result)
        assert read_parameters(image)["task"] == "inpaint"

    async def test_a_video_is_made_in_the_background(self, openai_server: Replica) -> None:
        async with agent(openai_server.url) as client:
            begun = await client.call_tool("generate_video", {"prompt": "a red apple", "background": True})
            job = fields_of(begun)["job"]
            url = f"{openai_server.url}/api/{job}/status"
            wait_for(lambda: WEB.get(url).json()["status"] == "completed")
            status = fields_of(await client.call_tool("job_status", {"job": job}))
            listed = fields_of(await client.call_tool("job_status", {}))
        assert fields_of(begun)["status"] in ("pending", "processing")
        assert status["task"] == "text-to-video"
        assert WEB.get(status["results"][0]["url"]).headers["content-type"] == "video/mp4"
        assert job in [each["session_id"] for each in listed["jobs"]]

    async def test_a_video_starts_with_an_image(self, openai_server: Replica) -> None:
        async with agent(openai_server.url) as client:
            video = {"prompt": "a red apple", "image": base64_of(png(photo()))}
            made = fields_of(await client.call_tool("generate_video", video))
        assert (made["task"], made["status"]) == ("image-to-video", "completed")

    async def test_a_story_becomes_frames(self, openai_server: Replica) -> None:
        told = Told()
        story = {"prompt": STORY, "model": "tiny", "num_inference_steps": 1}
        async with agent(openai_server.url) as client:
            result = await client.call_tool("storyboard", story, progress_callback=told)
        assert len(images_of(result)) == 6 + 1
        assert fields_of(result)["results"][0]["media_type"] == "application/json"
        assert told.progress[-1] == 100

    async def test_models_are_listed(self, openai_server: Replica) -> None:
        async with agent(openai_server.url) as client:
            result = await client.call_tool("list_models", {})
        models = {model["id"]: model for model in result.structured_content["models"]}
        assert list(models) == ["tiny-edit", "tiny", "miniature", "tiny-video", "tiny-animate"]
        assert models["tiny"]["tasks"]["text-to-image"]["limits"]["max_px"] == 128
        assert (models["tiny"]["hires"], models["tiny-edit"]["hires"]) == (True, False)


class TestMistakes:
    @pytest.mark.parametrize(
        ("tool", "arguments", "field"),
        [
            ("generate_image", {}, "prompt"),
            ("generate_image", {"prompt": "a fox", "colour": "red"}, "colour"),
            ("generate_image", {"prompt": "a fox", "model": "tiny", "hires": {"scale": 9}}, "hires"),
            ("edit_image", {"prompt": "blue"}, "images"),
            ("edit_image", {"prompt": "blue", "images": ["http://127.0.0.1/a.png"]}, "images"),
            ("edit_image", {"prompt": "blue", "images": [{"data": "x"}]}, "images"),
            ("edit_image", {"prompt": "blue", "model": "tiny", "images": [base64_of(png(photo()))] * 2}, "images"),
            ("edit_image", {"prompt": "blue", "images": [base64_of(png(photo()))], "camera": "top-down"}, "camera"),
            ("inpaint", {"prompt": "blue", "image": base64_of(b"no image"), "mask": base64_of(png(photo()))}, "image"),
            ("generate_video", {"prompt": "a fox", "output_format": "png"}, "output_format"),
            ("storyboard", {"prompt": "short"}, "prompt"),
            ("list_models", {"all": True}, "all"),
        ],
    )
    async def test_they_are_named(
        self, tool: str, arguments: dict[str, Any], field: str, openai_server: Replica
    ) -> None:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        headers = {"Accept": "application/json, text/event-stream"}
        answer = WEB.post(f"{openai_server.url}/mcp", json=body, headers=headers)
        assert f'\\"field\\": \\"{field}\\"' in answer.text

    async def test_a_job_that_is_not_there(self, openai_server: Replica) -> None:
        nobodys = "00000000-0000-0000-0000-000000000000"
        async with agent(openai_server.url) as client:
            for call in (("job_status", {"job": nobodys}), ("edit_image", {"prompt": "blue", "images": [nobodys]})):
                assert fields_of(await client.call_tool(*call))["code"] == "unknown_job"

    async def test_a_tool_that_is_not_there(self, openai_server: Replica) -> None:
        async with agent(openai_server.url) as client:
            with pytest.raises(MCPError, match="there is no tool 'draw', but generate_image"):
                await client.call_tool("draw", {})

    def test_other_methods_and_bodies(self, openai_server: Replica) -> None:
        url = f"{openai_server.url}/mcp"
        assert WEB.get(url).status_code == 405
        assert WEB.get(url).json()["error"]["data"]["code"] == "wrong_method"
        accepted = {"Accept": "application/json, text/event-stream"}
        call = (
            rb'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_models", "arguments": %s}}'
        )
        for body in (b"{", b"[]", b"null", call % b'{"\\udfff": 1}', call % b"[]", call % b"null"):
            assert WEB.post(url, content=body, headers=accepted).status_code < 500


async def test_what_the_server_did_wrong_is_for_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("/secret/folder")

    monkeypatch.setattr(server, "call", broken)
    context: Any = SimpleNamespace(request=object())
    result = await server._call_tool(context, CallToolRequestParams(name="list_models"))
    assert result.is_error
    assert "secret" not in str(result)


@pytest.mark.parametrize("count", [1, 10])
def test_large_images_are_shown_reduced(count: int) -> None:
    noise = Image.frombytes("RGB", (1024, 1024), random.Random(7).randbytes(3 * 1024 * 1024))
    shown = _shown(png(noise), "image/png", SHOWN_BYTES // count)
    assert (shown.media_type, len(shown.data) * count <= SHOWN_BYTES) == ("image/webp", True)


def test_only_tools_that_read_are_free() -> None:
    assert [spec.name for spec in TOOLS.values() if spec.reads_only] == ["list_models", "job_status"]
