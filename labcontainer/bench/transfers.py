"""The subjects: one image of many files pulled from and pushed to a registry on loopback.

    4 layers of 3,750 files each, 24 KB on average, packed by gzip to about a third

The registry is ours, in a process of its own. Every pull goes into a new store and is unpacked;
every push goes to a repository that the registry has not got, by an address that the client does
not know: nothing can be mounted from elsewhere.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from labcontainer.bench import unpack
from labcontainer.errors import LabError, UnsupportedError

LAYERS, FILES = 4, 3750
NAME = "bench/image:1"
_numbers = itertools.count(2)


@contextmanager
def registry(place: Path) -> Iterator[int]:
    """A registry for the block; the port that it listens on, at every address of 127.0.0.0/8."""
    words = [*_ours("registry", "serve", "--listen", "0.0.0.0:0", "--plain-http-anywhere"),
             "--storage", str(place / "registry")]  # fmt: skip
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=_environment(place))
    assert server.stdout is not None
    try:
        yield int(server.stdout.readline().rpartition(":")[2])
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()


def image(place: Path, port: int) -> None:
    """Make the image, keep it in the stores that push, and in the registry for those that pull."""
    from labcontainer.image import documents, packing, push, reference
    from labcontainer.image.store import Store

    store = Store(str(place / "ours" / "images"))
    layers = []
    with store.lease():
        for number in range(LAYERS):
            path = unpack.layer(place, FILES, seed=number)
            with path.open("rb") as file:
                layers.append(packing.store_archive(store, file))
        config = documents.ImageConfig(
            documents.host_platform(), tuple(layer.diff_id for layer in layers), {"Cmd": ["true"]}
        )
        name = f"127.0.0.1:{port}/{NAME}"
        store.add_image(config, [layer.descriptor for layer in layers], [name])
    push.push(store, reference.parse(name))


def pulls(place: Path, port: int) -> dict[str, Callable[[], None]]:
    """Name -> an action that pulls the image into a new store."""
    name = f"127.0.0.1:{port}/{NAME}"

    def ours() -> None:
        _call(_ours("pull", "-q", name), _environment(place / f"pull{next(_numbers)}"))

    def theirs() -> None:
        _call([*podman(place / f"pull{next(_numbers)}"), "pull", "-q", "--tls-verify=false", name],
              dict(os.environ))  # fmt: skip

    return {"labcontainer": ours, "podman": theirs}


def pushes(place: Path, port: int) -> dict[str, Callable[[], None]]:
    """Name -> an action that pushes the image to a new repository."""
    name = f"127.0.0.1:{port}/{NAME}"
    their = podman(place / "podman")
    _call([*their, "pull", "-q", "--tls-verify=false", name], dict(os.environ))

    def fresh() -> str:
        number = next(_numbers)
        return f"127.0.{number // 250}.{number % 250 + 1}:{port}/fresh{number}:1"

    def ours() -> None:
        target = fresh()
        _call(_ours("tag", name, target), _environment(place / "ours"))
        _call(_ours("push", "-q", target), _environment(place / "ours"))

    def theirs() -> None:
        _call([*their, "push", "-q", "--tls-verify=false", name, fresh()], dict(os.environ))

    return {"labcontainer": ours, "podman": theirs}


def podman(place: Path) -> list[str]:
    """podman with a store of its own, on the kernel's overlay.

    Raises:
        UnsupportedError: it is not installed.
    """
    from shutil import which

    if not which("podman"):
        raise UnsupportedError("a comparison with podman", "it is not installed", "install podman")
    return ["podman", f"--root={place}/root", f"--runroot={place}/run", "--storage-driver=overlay",
            "--cgroup-manager=cgroupfs"]  # fmt: skip


def peak_memory(place: Path, port: int) -> tuple[int, int]:
    """The most memory, in bytes, that one pull and one push of ours had in use at a time."""
    actions = pulls(place, port)["labcontainer"], pushes(place, port)["labcontainer"]
    found = []
    for action in actions:
        pid = os.fork()  # its children are counted alone
        if pid == 0:
            action()
            os._exit(0)
        found.append(os.wait4(pid, 0)[2])
    return tuple(one.ru_maxrss * 1024 for one in found)  # type: ignore[return-value]


def _ours(*words: str) -> list[str]:
    return [sys.executable, "-m", "labcontainer.cli.main", *words]


def _environment(home: Path) -> dict[str, str]:
    return {**os.environ, "LABCONTAINER_HOME": str(home)}


def _call(words: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise LabError(
            f"{' '.join(words[:6])} … ended with {done.returncode}: {done.stderr.strip()}"
        )
