"""Generates the blocks of README.md and docs/benchmarks.md from a run's results alone.

    python -m benchmarks.serving.documents

rewrites them, and the plot, from `benchmarks/results/serving.json`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from benchmarks.measured_model import REPOSITORY
from benchmarks.servers import JUBAKO, SERVERS
from benchmarks.serving.measures import Comparison, beyond_engine_target, comparisons, engine_targets, failures, targets
from benchmarks.serving.plot import plot
from benchmarks.serving.results import FILE, FOLDER, ServingResults
from benchmarks.target import Target

README = REPOSITORY / "README.md"
PAGE = REPOSITORY / "docs" / "benchmarks.md"
BEGIN, END = "<!-- `make benchmark` writes from here -->", "<!-- to here -->"
PLOT = FOLDER / "serving.png"


def write_pages(results: ServingResults) -> None:
    plot(results, PLOT)
    for page, block in ((README, readme_block(results)), (PAGE, page_block(results))):
        page.write_text(filled(page.read_text(encoding="utf-8"), block), encoding="utf-8")


def filled(page: str, block: str, begin: str = BEGIN) -> str:
    """Return the page with the block between its marks replaced."""
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(END)
    return f"{before}{begin}\n\n{block}\n\n{END}{after}"


def block_of(page: str) -> str:
    return page.partition(BEGIN)[2].partition(END)[0].strip()


def readme_block(results: ServingResults) -> str:
    image = PLOT.relative_to(REPOSITORY)
    return "\n".join(
        [
            f"![Each workload's figure, for Jubako and the other servers]({image})",
            "",
            _introduction(results),
            "",
            *_ratio_table(results),
            "",
            *_verdict(results),
        ]
    )


def page_block(results: ServingResults) -> str:
    return "\n".join(
        [
            _introduction(results),
            "",
            *_ratio_table(results),
            "",
            *_verdict(results),
            "",
            "Every server, with the lowest and the highest of the repeats:",
            "",
            *_server_table(results),
            "",
            *_engine_table(results),
            *_beyond_engine(results),
        ]
    )


def _introduction(results: ServingResults) -> str:
    others = [SERVERS[name].title for name in next(iter(results.points.values())) if name != JUBAKO.name]
    machine = results.machine
    rounds = machine["repeats"]
    repeats = "one round over all servers" if rounds == 1 else f"medians of {rounds} rounds, ratios included"
    return (
        f"One run on {machine['title']} with the model `{machine['model']}` (torch {machine['torch']}), {repeats}. "
        f"The others are {_listed(others)}."
    )


def _ratio_table(results: ServingResults) -> Iterator[str]:
    yield "| workload | Jubako | best of the others | ratio | goal |"
    yield "| --- | --- | --- | --- | --- |"
    for comparison in comparisons(results):
        unit = comparison.measure.unit
        ours, best = (comparison.figures[name].median for name in (JUBAKO.name, comparison.best))
        others = f"{best:.2f} {unit} ({SERVERS[comparison.best].title})"
        yield _row(comparison.measure.title, f"{ours:.2f} {unit}", others, *_judged(comparison.target))


def _server_table(results: ServingResults) -> Iterator[str]:
    shown = list(comparisons(results))
    yield _row("", *(f"{each.measure.title}, {each.measure.unit}" for each in shown))
    yield _row(*["---"] * (1 + len(shown)))
    for name in dict.fromkeys(name for each in shown for name in each.figures):
        yield _row(SERVERS[name].title, *(_figure(each, name) for each in shown))


def _figure(comparison: Comparison, server: str) -> str:
    figure = comparison.figures[server]
    return f"{figure.median:.2f} ({figure.lowest:.2f} to {figure.highest:.2f})"


def _engine_table(results: ServingResults) -> Iterator[str]:
    yield "| | plain pipeline | engine | ratio of speed | goal |"
    yield "| --- | --- | --- | --- | --- |"
    for ratio, target in engine_targets(results):
        yield _row(target.title, f"{ratio.plain_s:.3f} s", f"{ratio.engine_s:.3f} s", *_judged(target))


def _beyond_engine(results: ServingResults) -> Iterator[str]:
    if results.beyond_engine_ms is not None:
        spent, goal = _judged(beyond_engine_target(results.beyond_engine_ms))
        yield ""
        yield f"HTTP, queue and encoding take {spent} ms of a 512x512 image beyond the engine; goal {goal}."


def _judged(target: Target) -> tuple[str, str]:
    goal = f"{'at most' if target.at_most else 'at least'} {target.bound:g}"
    return f"{target.value:.2f}", f"{goal}: {'met' if target.reached else '**missed**'}"


def _verdict(results: ServingResults) -> Iterator[str]:
    missed = [target.title for target in targets(results) if not target.reached]
    yield f"Missed: {'; '.join(missed)}." if missed else "All goals are met."
    failed = [f"{SERVERS[name].title} {count}" for name, count in failures(results).items()]
    yield f"Failed requests: {', '.join(failed)}." if failed else "No server failed a request."


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def main() -> None:
    write_pages(ServingResults.read(FOLDER / FILE))


if __name__ == "__main__":
    main()
