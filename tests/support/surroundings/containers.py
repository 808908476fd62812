"""Images and containers for tests, by root and without a daemon: Buildah in a store of its own, and runc."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.support.servers.serving import ROOT, free_port, wait_for
from tests.support.web import WEB

TOOLS = ("buildah", "debootstrap", "runc")
USER = 1034
"""BentoML's user `bentoml`."""
READY_TIMEOUT_S = 240.0


def can_build() -> bool:
    return os.geteuid() == 0 and all(shutil.which(tool) for tool in TOOLS)


@dataclass(frozen=True)
class ImageStore:
    """Images below a folder; `volumes` are mounted in builds."""

    folder: Path
    volumes: list[str]

    @property
    def environment(self) -> dict[str, str]:
        """What makes Buildah use this store, in whichever process it runs."""
        return {
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "BUILDAH_ISOLATION": "chroot",
        }

    def run(self, *command: str, **environment: str) -> str:
        """Run a command that works on this store; returns its output, and fails with what it said."""
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **self.environment, **environment}, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-5000:]}\n{done.stderr[-5000:]}"
        return done.stdout.strip()

    @contextmanager
    def mounted(self, image: str) -> Iterator[Path]:
        """Mount an image's root filesystem."""
        container = self.run("buildah", "from", "--pull-never", image)
        try:
            yield Path(self.run("buildah", "mount", container))
        finally:
            self.run("buildah", "rm", container)

    def config(self, image: str) -> dict[str, Any]:
        """Return the image's configuration: `Env`, `Entrypoint`, `User`, `WorkingDir`."""
        config: dict[str, Any] = json.loads(self.run("buildah", "inspect", "--type", "image", image))["OCIv1"]["config"]
        return config


@contextmanager
def image_store(folder: Path, volumes: list[str]) -> Iterator[ImageStore]:
    """Keep images until the block ends; then nothing of them stays, mounted or on disk."""
    folder.mkdir()
    store = ImageStore(folder, volumes)
    roots = {name: json.dumps(str(folder / name)) for name in ("graphroot", "runroot")}
    (folder / "storage.conf").write_text(
        '[storage]\ndriver = "overlay"\n' + "".join(f"{name} = {root}\n" for name, root in roots.items())
    )
    (folder / "containers.conf").write_text(f"[containers]\nvolumes = {json.dumps(volumes)}\n")
    try:
        yield store
    finally:
        _unmount_below(folder)
        shutil.rmtree(folder)


def _unmount_below(folder: Path) -> None:
    places = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in reversed([place for place in places if Path(place).is_relative_to(folder)]):
        subprocess.run(["umount", "--lazy", place], check=True)


@dataclass
class Container:
    """A container of an image's mounted root filesystem, which is read-only; `/tmp` is in memory, `volume` at /data."""

    root: Path
    config: Mapping[str, Any]
    bundle: Path
    volume: Path
    environment: Mapping[str, str]
    online: bool = True
    """Whether it shares this machine's network; without, it has none but its own loopback."""
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Runc's process; those of the container are its children."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return (self.bundle / "log").read_text()

    def start(self) -> None:
        """Run the image's entrypoint until it is ready."""
        self.bundle.mkdir(exist_ok=True)
        (self.bundle / "hosts").write_text("127.0.0.1 localhost\n")
        (self.bundle / "config.json").write_text(json.dumps(self._specification()))
        with (self.bundle / "log").open("ab") as log:
            command = self._runc("run", "--bundle", str(self.bundle))
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_for(self._ready, READY_TIMEOUT_S)

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the first process, as every orchestrator does."""
        subprocess.run(self._runc("kill", then=("TERM",)), check=True)

    def ended(self, timeout_s: float) -> int:
        """Wait for the end; return the exit status."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def remove(self) -> None:
        """Whatever is left, ends now."""
        if self._process is not None and self._process.poll() is None:
            subprocess.run(self._runc("kill", then=("KILL",)))
            self._process.wait(60)
        subprocess.run(self._runc("delete", "--force"), check=True)

    def execute(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command beside the server, as the same user."""
        return subprocess.run(self._runc("exec", then=command), capture_output=True)

    def get(self, path: str) -> httpx.Response:
        return WEB.get(f"{self.url}{path}", timeout=60)

    def post(self, path: str, **fields: Any) -> httpx.Response:
        return WEB.post(f"{self.url}{path}", json=fields, timeout=120)

    @contextmanager
    def stream(self, path: str, **fields: Any) -> Iterator[Iterator[str]]:
        """Post, and read the answer line by line as it comes."""
        with httpx.stream("POST", f"{self.url}{path}", json=fields, timeout=120) as answer:
            assert answer.status_code == 200
            yield answer.iter_lines()

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log[-5000:]
        return self.execute("python", "-c", READY.format(port=self.port)).returncode == 0

    def _runc(self, command: str, *options: str, then: tuple[str, ...] = ()) -> list[str]:
        return ["runc", "--root", str(self.bundle / "state"), command, *options, f"jubako-{self.port}", *then]

    def _specification(self) -> dict[str, Any]:
        """The OCI runtime's configuration: github.com/opencontainers/runtime-spec, config.md."""
        environment = {"PORT": str(self.port), "OMP_NUM_THREADS": "1", **self.environment}
        memory = {"type": "tmpfs", "source": "tmpfs"}
        return {
            "ociVersion": "1.0.0",
            "root": {"path": str(self.root), "readonly": True},
            "process": {
                "args": self.config["Entrypoint"],
                "cwd": self.config["WorkingDir"],
                "env": [*self.config["Env"], *(f"{name}={value}" for name, value in environment.items())],
                "user": {"uid": USER, "gid": USER},
                "capabilities": {},
                "noNewPrivileges": True,
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", **memory, "options": ["nosuid", "mode=755"]},
                {"destination": "/tmp", **memory, "options": ["nosuid", "nodev", "mode=1777"]},
                {"destination": "/dev/shm", **memory, "options": ["nosuid", "nodev", "mode=1777"]},
                {"destination": "/etc/hosts", "source": str(self.bundle / "hosts"), "options": ["bind", "ro"]},
                {"destination": "/data", "source": str(self.volume), "options": ["bind", "rw"]},
            ],
            "linux": {
                "namespaces": [
                    {"type": kind} for kind in ("pid", "mount", "ipc", "uts", *(() if self.online else ("network",)))
                ]
            },
        }


READY = """
import sys, urllib.request
sys.exit(urllib.request.urlopen("http://127.0.0.1:{port}/readyz", timeout=5).status != 200)
"""


@contextmanager
def container(
    store: ImageStore, image: str, folder: Path, *, online: bool = True, **environment: str
) -> Iterator[Container]:
    """A started container; its volume, `folder / "data"`, may outlive it."""
    volume = folder / "data"
    volume.mkdir(exist_ok=True)
    os.chown(volume, USER, USER)
    with store.mounted(image) as root:
        one = Container(
            root, store.config(image), folder / f"bundle-{time.monotonic_ns()}", volume, environment, online
        )
        try:
            one.start()
            yield one
        finally:
            one.remove()
