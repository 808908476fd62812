"""Planning by a language model: the real client against a scripted endpoint that speaks chat completions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from core.errors import PlanningFailed
from models.catalogue.catalogue import full_catalogue, unknown_words
from models.catalogue.entry import Entry
from settings import Settings
from settings.sections.stories import StoryOptions
from storyboard.planning.builtin import BuiltinPlanner
from storyboard.planning.choice import planner_for
from storyboard.planning.llm import OPENAI_URL, LanguageModelPlanner
from storyboard.scenes import Plan, PlanRequest

SDXL, MINIATURE = (full_catalogue(None).get(name) for name in ("sdxl", "miniature"))
KEY = "sk-very-secret-indeed"
STORY = "Aldar Kose tricks a merchant and steals his horse"


def free(count: int) -> str:
    scenes = [{"prompt": f"Aldar rides, view {number}", "caption": f"Part {number}"} for number in range(count)]
    return json.dumps({"scenes": scenes})


class ScriptedEndpoint:
    """Gives the answers it was told to, one after the other, and keeps what it was asked."""

    def __init__(self) -> None:
        self.script: list[str | web.Response] = []
        self.delay_s = 0.0
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._complete)
        self.server = TestServer(app)

    @property
    def url(self) -> str:
        return str(self.server.make_url("/v1"))

    async def _complete(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        self.keys.append(request.headers["Authorization"])
        await asyncio.sleep(self.delay_s)
        said = self.script.pop(0)
        if isinstance(said, web.Response):
            return said
        message = {"role": "assistant", "content": said}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        completion = {"id": "c1", "object": "chat.completion", "created": 1, "model": "tiny-llm", "choices": [choice]}
        return web.json_response(completion)


@pytest.fixture
async def endpoint() -> AsyncIterator[ScriptedEndpoint]:
    scripted = ScriptedEndpoint()
    await scripted.server.start_server()
    yield scripted
    await scripted.server.close()


def options(url: str, timeout_s: float = 20.0) -> StoryOptions:
    # By their variables' names, as the settings fill them.
    return StoryOptions.model_validate(
        {"JUBAKO_LLM_URL": url, "JUBAKO_LLM_KEY": KEY, "llm_model": "tiny-llm", "llm_timeout_s": timeout_s}
    )


async def plan(
    url: str, count: int | None = 6, entry: Entry = SDXL, trigger: str = "", timeout_s: float = 20.0
) -> Plan:
    planner = planner_for(options(url, timeout_s))
    return await planner.plan(PlanRequest(STORY, count, 0.3, 42, entry, trigger))


def refused(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "invalid_request_error"}}, status=status)


async def test_a_good_answer_becomes_the_plan(endpoint: ScriptedEndpoint) -> None:
    endpoint.script = [free(6)]
    made = await plan(endpoint.url)
    assert made.planner == "tiny-llm"
    assert [scene.number for scene in made.scenes] == [1, 2, 3, 4, 5, 6]
    assert (made.scenes[2].prompt, made.scenes[2].caption) == ("Aldar rides, view 2", "Part 2")


async def test_what_the_endpoint_is_asked(endpoint: ScriptedEndpoint) -> None:
    endpoint.script = [free(7)]
    await plan(endpoint.url, None)
    (body,) = endpoint.asked
    assert endpoint.keys == [f"Bearer {KEY}"]
    assert (body["model"], body["temperature"], body["seed"]) == ("tiny-llm", 0.3, 42)
    assert body["response_format"]["type"] == "json_schema"
    schema = body["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert schema["schema"]["additionalProperties"] is False
    bounds = schema["schema"]["properties"]["scenes"]
    assert (bounds["minItems"], bounds["maxItems"]) == (6, 10)
    system, user = body["messages"]
    # For endpoints that ignore the format.
    assert json.dumps(schema["schema"]) in system["content"]
    assert user == {"role": "user", "content": STORY}


@pytest.mark.parametrize(
    "answer",
    [
        f"```json\n{free(6)}\n```",
        f"Here is your storyboard:\n```\n{free(6)}\n```\nEnjoy!",
        f"<think>Six scenes {{maybe}}.</think>{free(6)}",
    ],
)
async def test_json_may_be_wrapped(answer: str, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = [answer]
    assert len((await plan(endpoint.url)).scenes) == 6


@pytest.mark.parametrize(
    ("broken", "mistake"),
    [
        ("I cannot do that.", "Invalid JSON"),
        (free(6)[:-20], "Invalid JSON"),
        (free(5), "scenes: Value should have at least 6 items"),
        (free(6).replace("view 3", "view 2"), "scenes: two prompts are equal"),
        (free(6).replace("Part 4", " "), "scenes.4.caption: is empty"),
        (free(6).replace("view 4", "x" * 401), "scenes.4.prompt: has 414 characters; at most 300 are allowed"),
        (free(6).replace("caption", "title"), "scenes.0.caption: Field required"),
        ("", "Invalid JSON"),
    ],
)
async def test_a_broken_answer_is_sent_back_with_its_mistakes(
    broken: str, mistake: str, endpoint: ScriptedEndpoint
) -> None:
    endpoint.script = [broken, free(6)]
    assert len((await plan(endpoint.url)).scenes) == 6
    *_, given, repair = endpoint.asked[1]["messages"]
    assert given == {"role": "assistant", "content": broken}
    assert mistake in repair["content"]
    assert (endpoint.asked[1]["temperature"], endpoint.asked[1]["seed"]) == (0.3, 42)


async def test_an_answer_that_stays_broken_fails(endpoint: ScriptedEndpoint) -> None:
    endpoint.script = ["no", free(5), free(6)]
    with pytest.raises(PlanningFailed, match=r"tiny-llm gives no usable scenes.*at least 6 items"):
        await plan(endpoint.url)
    assert len(endpoint.asked) == 2


async def test_nobody_listens() -> None:
    with pytest.raises(PlanningFailed, match=r"^the language model's endpoint cannot be reached$"):
        await plan(f"http://127.0.0.1:{unused_port()}/v1")


async def test_it_takes_too_long(endpoint: ScriptedEndpoint) -> None:
    endpoint.script, endpoint.delay_s = [free(6)] * 3, 30.0
    began = asyncio.get_running_loop().time()
    with pytest.raises(PlanningFailed, match=r"^the language model did not answer within 0\.3 s$"):
        await plan(endpoint.url, timeout_s=0.3)
    assert asyncio.get_running_loop().time() - began < endpoint.delay_s


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (401, "does not accept this server's key"),
        (404, "has no model tiny-llm"),
        (400, "refuses the request"),
        (429, "has no quota"),
        (500, "failed"),
    ],
)
async def test_a_refusal_is_told_in_our_words(status: int, meaning: str, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = [refused(status, f"Incorrect API key provided: {KEY}") for _ in range(2)]
    with pytest.raises(PlanningFailed, match=meaning) as failed:
        await plan(endpoint.url)
    assert f"({status})" in failed.value.message
    assert KEY not in failed.value.message
    assert "Incorrect" not in failed.value.message


@pytest.mark.parametrize(
    "body",
    [
        "<html>Welcome</html>",
        '{"error": "no such thing"}',
        '{"choices": []}',
        '{"choices": [{"text": "of an older kind"}]}',
        '{"choices": [{"message": {"content": [{"text": "in parts"}]}}]}',
    ],
)
async def test_something_else_answers_with_status_200(body: str, endpoint: ScriptedEndpoint) -> None:
    kind = "text/html" if body.startswith("<") else "application/json"
    endpoint.script = [web.Response(text=body, content_type=kind) for _ in range(2)]
    with pytest.raises(PlanningFailed, match="gives no usable scenes"):
        await plan(endpoint.url)


async def test_what_a_model_does_not_take_is_left_out(endpoint: ScriptedEndpoint) -> None:
    endpoint.script = [
        refused(400, "Unsupported value: 'temperature' does not support 0.3 with this model."),
        refused(400, "This response_format type is unavailable now"),
        "no",
        free(6),
    ]
    assert len((await plan(endpoint.url)).scenes) == 6
    assert [set(body) - {"model", "messages"} for body in endpoint.asked] == [
        {"temperature", "seed", "response_format"},
        {"seed", "response_format"},
        {"seed"},
        {"seed"},
    ]


def few_words(concept: str = "fox") -> str:
    scenes = [{"concept": concept, "colour": "blue", "caption": f"Part {number}"} for number in range(6)]
    return json.dumps({"scenes": scenes})


async def test_a_model_of_few_words_gets_a_choice_of_them(endpoint: ScriptedEndpoint) -> None:
    endpoint.script = [few_words("horse"), few_words()]
    made = await plan(endpoint.url, entry=MINIATURE)
    scene = endpoint.asked[0]["response_format"]["json_schema"]["schema"]["$defs"]["Scene"]["properties"]
    assert {"fox", "castle"} <= set(scene["concept"]["enum"])
    assert "grey" in scene["colour"]["enum"]
    assert "scenes.0.concept: Input should be 'apple'" in endpoint.asked[1]["messages"][-1]["content"]
    prompts = [scene.prompt for scene in made.scenes]
    assert prompts[0] == "a fox on a blue background"
    assert len(set(prompts)) == 6
    assert all(unknown_words(MINIATURE, prompt) == [] for prompt in prompts)


async def test_a_trigger_stands_first(endpoint: ScriptedEndpoint) -> None:
    endpoint.script = [free(6), few_words("kumo")]
    assert (await plan(endpoint.url, trigger="ohwx man")).scenes[0].prompt == "ohwx man, Aldar rides, view 0"
    assert (await plan(endpoint.url, entry=MINIATURE, trigger="kumo")).scenes[0].prompt == "kumo, blue background"


def test_a_key_or_an_endpoint_chooses_the_language_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "JUBAKO_LLM_KEY", "JUBAKO_LLM_URL"):
        monkeypatch.delenv(name, raising=False)
    assert isinstance(planner_for(Settings()), BuiltinPlanner)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert isinstance(planner_for(Settings()), LanguageModelPlanner)
    assert KEY not in repr(Settings())
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("OPENAI_BASE_URL", OPENAI_URL)
    assert isinstance(planner_for(Settings()), LanguageModelPlanner)
