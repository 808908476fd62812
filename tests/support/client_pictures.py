"""`python -m tests.support.client_pictures FOLDER` has other people's programs generate images, and writes pictures of
them into docs/.

FOLDER has the environments of these programs, which tools/need-pictured-clients makes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect

from tests.support.browser import browsing
from tests.support.page_pictures import keep
from tests.support.replica import replica

NOTEBOOK_PX = (900, 530)
CELLS = (
    "from jubako_client import Jubako\n\njubako = Jubako()  # at JUBAKO_CLIENT_URL\njubako.models()[0].id",
    'fox = jubako.text_to_image("a fox on a green background", seed=7)\nfox',
    'jubako.image_to_image("a fox on a blue background", fox, strength=0.8, seed=7)',
)


def main(programs: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder, plain = Path(temporary), {"JUBAKO_MODELS": "miniature", "JUBAKO_CATALOGUE": ""}
        with replica(folder / "no-catalogue", **plain) as server:
            _notebook(server.url, programs, folder)


def _notebook(jubako: str, programs: Path, folder: Path) -> None:
    """Run a notebook, and look at it as a page."""
    empty = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": []}
    cells = [{**empty, "id": str(number), "source": text} for number, text in enumerate(CELLS)]
    file = folder / "notebook.ipynb"
    file.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    command = [programs / "notebook/bin/jupyter", "nbconvert", "--to", "html", "--execute", file]
    subprocess.run(command, env={**os.environ, "JUBAKO_CLIENT_URL": jubako}, check=True)
    with browsing("file://") as browsed:
        browsed.page.set_viewport_size({"width": NOTEBOOK_PX[0], "height": NOTEBOOK_PX[1]})
        browsed.page.goto(file.with_suffix(".html").as_uri())
        expect(browsed.page.locator("main img")).to_have_count(2)
        keep(browsed.page, "client-notebook")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
