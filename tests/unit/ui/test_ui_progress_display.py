"""What the page `/ui` shows of a job while it is drawn."""

from __future__ import annotations

from client.events import Event
from ui.generating.progress_display import ProgressDisplay, hints_html


def heard(*events: Event) -> str:
    display = ProgressDisplay()
    for event in events:
        display.handle(event)
    return display.html()


def test_the_place_in_the_queue() -> None:
    assert "place 3" in heard(Event("queued", {"position": 3}))


def test_a_model_that_loads() -> None:
    assert "40%" in heard(Event("loading", {"progress": 0.4}))


def test_the_steps_of_all_images_are_counted_together() -> None:
    steps = [Event("step", {"index": index, "step": 5, "steps": 10}) for index in (0, 1)]
    shown = heard(Event("started", {"hint": None}), *steps)
    assert "Step 10 of 20" in shown
    assert 'value="0.500"' in shown


def test_previews_stand_in_the_order_of_the_images() -> None:
    shown = heard(*(Event("preview", {"index": index, "image": f"data:,{index}"}) for index in (1, 0)))
    assert shown.index("data:,0") < shown.index("data:,1")


def test_what_the_server_says_is_text() -> None:
    assert "<b>" not in hints_html("unknown words: <b>")
    assert 'role="alert"' in hints_html("width: too large", error=True)
