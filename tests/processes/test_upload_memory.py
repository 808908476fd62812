"""What decoding takes of the machine, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gateway.media.reading.decoding import BUDGET
from tests.support.image_files import saved
from tests.support.servers.serving import photo

MEASURED = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from processes.allocator import return_freed_memory
return_freed_memory()
from gateway.media.reading.decoding import uploaded
from tests.support.engine.own_memory import memory_mib
data = open(sys.argv[1], "rb").read()
uploaded(open(sys.argv[2], "rb").read(), "image", 64_000_000).open()
before = memory_mib("VmRSS")
with ThreadPoolExecutor(8) as pool:
    list(pool.map(lambda _: uploaded(data, "image", 64_000_000).resized(256, 256).open(), range(8)))
print(json.dumps([memory_mib("VmHWM") - before, memory_mib("VmRSS") - before]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_eight_at_once_stay_within_the_budget_and_their_memory_goes_back(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(saved(Image.new("RGB", (4000, 4000), (200, 30, 30))))
    (tmp_path / "small").write_bytes(saved(photo()))
    command: list[Any] = [sys.executable, "-c", MEASURED, tmp_path / "large", tmp_path / "small"]
    peak_mib, kept_mib = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=120).stdout)
    # Eight in full size, in the file's colours and in RGB, would be 976 MiB, and in the file's alone 488.
    assert peak_mib < BUDGET.total_bytes / 2**20 + 60
    assert kept_mib < 40
