"""Cards by the real client of NVML: without its library, and with a fake one, in C, that has two cards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FAKE = r"""
#include <stdlib.h>
#include <string.h>
enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, GPU_IS_LOST = 15 };
typedef struct { unsigned gpu, memory; } Utilization;
typedef struct { unsigned version; int sensor, temperature; } Temperature;
typedef struct { unsigned long long total, free, used; } Memory;
static int busy, silent;
int nvmlInitWithFlags(unsigned flags) { return SUCCESS; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **card) {
    *card = !strcmp(uuid, "GPU-busy") ? &busy : !strcmp(uuid, "GPU-silent") ? &silent : 0;
    return *card ? SUCCESS : NOT_FOUND;
}
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(unsigned number, void **card) {
    *card = number ? &silent : &busy;
    return number && getenv("LOST") ? GPU_IS_LOST : SUCCESS;
}
int nvmlDeviceGetUUID(void *card, char *uuid, unsigned size) {
    strncpy(uuid, card == &busy ? "GPU-busy" : "GPU-silent", size);
    return SUCCESS;
}
int nvmlDeviceGetMemoryInfo(void *card, Memory *said) {
    said->total = 24ull << 30;
    said->free = (card == &busy ? 2ull : 23ull) << 30;
    return SUCCESS;
}
int nvmlDeviceGetMigMode(void *card, unsigned *now, unsigned *later) {
    *now = *later = getenv("DIVIDED") != 0;
    return card == &busy ? SUCCESS : NOT_SUPPORTED;
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
READINGS = """
from processes.machine.nvml import reading
cards = [reading(uuid) for uuid in ("GPU-busy", "GPU-silent", "GPU-none")]
print(json.dumps([[card.utilisation, card.temperature_c, card.used_gib] for card in cards]))
"""
CARDS = """
from processes.machine import cards
cards._torch_is_for_cpus = lambda: False
print(json.dumps([[card.device, card.total_gib, card.free_gib] for card in cards.usable_cards()]))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the fake one."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("nvml")
    (folder / "fake_nvml.c").write_text(FAKE)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "libnvidia-ml.so.1", "fake_nvml.c"], cwd=folder, check=True)
    return folder


def asked(question: str, folder: Path, **variables: str) -> list[list[Any]]:
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder), **variables}
    command = [sys.executable, "-c", f"import json\n{question}"]
    answer = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    said: list[list[Any]] = json.loads(answer)
    return said


def test_cards_say_what_they_can(library: Path) -> None:
    assert asked(READINGS, library) == [[0.87, 64, 22], [None, 31, 1], [None, None, None]]


def test_cards_are_listed_with_their_memory(library: Path) -> None:
    assert asked(CARDS, library) == [["cuda:0", 24, 2], ["cuda:1", 24, 23]]
    assert asked(CARDS, library, CUDA_VISIBLE_DEVICES="1") == [["cuda:0", 24, 23]]


def test_a_card_that_has_failed_keeps_its_number_and_gets_nothing(library: Path) -> None:
    assert asked(CARDS, library, LOST="yes") == [["cuda:0", 24, 2], ["cuda:1", 0, 0]]


def test_parts_of_cards_are_not_listed_as_the_cards(library: Path) -> None:
    assert asked(CARDS, library, DIVIDED="yes") == []


def test_a_machine_without_the_library_says_nothing_and_nothing_breaks(tmp_path: Path) -> None:
    broken = tmp_path / "libnvidia-ml.so.1"
    broken.write_text("no library")
    assert asked(READINGS, tmp_path) == [[None, None, None]] * 3
    assert asked(CARDS, tmp_path) == []
