"""Cards by the real client of NVML: without its library, and with a fake one, in C, that has two cards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FAKE = r"""
#include <string.h>
enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6 };
typedef struct { unsigned gpu, memory; } Utilization;
typedef struct { unsigned version; int sensor, temperature; } Temperature;
static int busy, silent;
int nvmlInitWithFlags(unsigned flags) { return SUCCESS; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **card) {
    *card = !strcmp(uuid, "GPU-busy") ? &busy : !strcmp(uuid, "GPU-silent") ? &silent : 0;
    return *card ? SUCCESS : NOT_FOUND;
}
int nvmlDeviceGetUtilizationRates(void *card, Utilization *said) {
    said->gpu = 87;
    return card == &busy ? SUCCESS : NOT_SUPPORTED;
}
int nvmlDeviceGetTemperatureV(void *card, Temperature *said) {
    said->temperature = card == &busy ? 64 : 31;
    return SUCCESS;
}
"""
ASK = """
import json, sys
from runners.host.nvml import reading
print(json.dumps([[(said := reading(uuid)).utilisation, said.temperature_c] for uuid in sys.argv[1:]]))
"""


def asked(folder: Path) -> list[list[float | None]]:
    command = [sys.executable, "-c", ASK, "GPU-busy", "GPU-silent", "GPU-none"]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder)}
    answer = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    said: list[list[float | None]] = json.loads(answer)
    return said


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_cards_say_what_they_can(tmp_path: Path) -> None:
    source = tmp_path / "fake_nvml.c"
    source.write_text(FAKE)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "libnvidia-ml.so.1", source], check=True)
    assert asked(tmp_path) == [[0.87, 64], [None, 31], [None, None]]


def test_a_machine_without_the_library_says_nothing_and_nothing_breaks(tmp_path: Path) -> None:
    broken = tmp_path / "libnvidia-ml.so.1"
    broken.write_text("no library")
    assert asked(tmp_path) == [[None, None]] * 3
