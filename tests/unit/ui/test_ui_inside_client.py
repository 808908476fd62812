"""The page's client fetches results where they can be had from inside."""

from __future__ import annotations

import pytest

from ui.inside_client import InsideJubako


@pytest.mark.parametrize(
    ("listed", "fetched"),
    [
        (
            "https://images.example/art/files/generations/a.png?token=1",
            "http://127.0.0.1:3000/files/generations/a.png?token=1",
        ),
        ("https://bucket.example/generations/a.png?signed=1", "https://bucket.example/generations/a.png?signed=1"),
    ],
)
def test_the_servers_own_files_come_from_its_own_address(listed: str, fetched: str) -> None:
    assert InsideJubako("http://127.0.0.1:3000", None)._reached(listed) == fetched
