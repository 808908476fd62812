"""A1111's grammar of weights, as its own documentation and tests have it."""

from __future__ import annotations

import time

import pytest

from core.generation.prompt_syntax import (
    PromptSyntax,
    has_marks,
    plain_text,
    prompt_parts,
    suspected_syntax,
    without_lora_tags,
)

MOST_S = 1.0
"""A tenth of it is usual."""


@pytest.mark.parametrize(
    ("prompt", "fragments"),
    [
        ("normal text", [("normal text", 1.0)]),
        ("an (important) word", [("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        (r"\(literal\]", [("(literal]", 1.0)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        ("a (word:1.3)", [("a ", 1.0), ("word", 1.3)]),
        ("a (word: .5 )", [("a ", 1.0), ("word", 0.5)]),
        ("[weak]", [("weak", 1 / 1.1)]),
        ("((twice))", [("twice", 1.1 * 1.1)]),
        ("a:b c: d", [("a:b c: d", 1.0)]),
        ("(a (b:2) c)", [("a ", 1.1), ("b", 2.2), (" c", 1.1)]),
        ("a ) b ] c", [("a ) b ] c", 1.0)]),
        ("", []),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [
                ("a ", 1.0),
                ("house", 1.573),
                (" ", 1.1),
                ("on", 1.0),
                (" a ", 1.1),
                ("hill", 0.55),
                (", sun, ", 1.1),
                ("sky", 1.4641),
                (".", 1.1),
            ],
        ),
    ],
)
def test_weights(prompt: str, fragments: list[tuple[str, float]]) -> None:
    (part,) = prompt_parts(prompt)
    assert [each.text for each in part] == [text for text, _ in fragments]
    assert [each.weight for each in part] == pytest.approx([weight for _, weight in fragments])


def test_break_divides() -> None:
    assert [[each.text for each in part] for part in prompt_parts("a red BREAK (blue) BREAKFAST")] == [
        ["a red"],
        ["blue", " BREAKFAST"],
    ]


def test_loras_are_taken_out() -> None:
    prompt, tags = without_lora_tags("a <lora:ink:0.8> house <lora:Old Film>, <lyco:x:-1>")
    assert prompt == "a house ,"
    assert [(tag.name, tag.scale) for tag in tags] == [("ink", "0.8"), ("Old Film", "1"), ("x", "-1")]
    assert without_lora_tags("a < b > c") == ("a < b > c", [])
    with pytest.raises(ValueError, match="hypernetworks"):
        without_lora_tags("a <hypernet:x:1>")


@pytest.mark.parametrize(
    ("prompt", "syntax"),
    [
        ("a (red:1.3) house", PromptSyntax.A1111),
        ("a ((red)) house", PromptSyntax.A1111),
        ("a house BREAK a tree", PromptSyntax.A1111),
        ("a <lora:ink:1>", PromptSyntax.A1111),
        ("a red++ house", PromptSyntax.COMPEL),
        ("a (red house)1.3", PromptSyntax.COMPEL),
        ('("a cat", "a dog").blend(1, 1)', PromptSyntax.COMPEL),
        ("a house (red), at 10:30, breakfast [blue] - well-lit", None),
        ("a photo, 50mm (f/1.8)", None),
    ],
)
def test_only_obvious_syntax_is_suspected(prompt: str, syntax: PromptSyntax | None) -> None:
    assert suspected_syntax(prompt) is syntax


def test_what_a_prompt_says_without_its_weights() -> None:
    assert plain_text("a (red:1.3) [house] BREAK tree", PromptSyntax.A1111) == "a red house tree"
    assert plain_text("a (red:1.3)", PromptSyntax.PLAIN) == "a (red:1.3)"


@pytest.mark.parametrize(
    "piece", ["(a:" + "1" * 50, "a" + " " * 50, "(a", "[a", "((", "<lora:", "a BREAK ", ")1", ":1", "\\("]
)
def test_the_longest_prompts_are_read_in_no_time(piece: str) -> None:
    # Of this process: the machine may be busy with others.
    began_s = time.process_time()
    prompt = (piece * 32_000)[:32_000]
    for text in (prompt, piece[:2] + "1" * 31_998, piece[:2] + " " * 31_997 + "a"):
        assert prompt_parts(text)
        suspected_syntax(text)
        without_lora_tags(text)
    assert time.process_time() - began_s < MOST_S


@pytest.mark.parametrize(
    "prompt", ["a (red) apple", "a [red] apple", r"a \(red\) apple", "a red+ apple", "red BREAK apple"]
)
def test_what_a_syntax_may_read_otherwise_is_seen(prompt: str) -> None:
    assert has_marks(prompt)
    assert not has_marks("a red, ripe apple: 3 of them")
