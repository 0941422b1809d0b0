"""The subjects: one layer unpacked by us and by GNU tar, in processor time of whole processes.

Ours does more: it checks the archive's digest, and resolves each directory inside the root. The
layer is made here, of words, so that it is packed to about a third, as programs and texts are:

    15,000 files of 24 KB on average in 1,500 directories, 360 MB
"""

from __future__ import annotations

import gzip
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from labcontainer.errors import LabError

FILES, MEAN = 15_000, 24_000
FOLDER = 10  # files in a directory
POOL = 8 << 20
OWN = """
import os, sys
if sys.argv[1] == "without isal":
    sys.modules["isal"] = None
from labcontainer.image import compression, layers
fd = os.open(sys.argv[3], os.O_RDONLY | os.O_DIRECTORY)
with open(sys.argv[2], "rb", buffering=0) as file:
    layers.apply(compression.Reader(file), fd)
"""


def layer(place: Path, files: int = FILES, seed: int = 1) -> Path:
    """The layer, packed by gzip as registries have it; the same for everybody."""
    from labcontainer.image import diff
    from labcontainer.image.tarformat import DIRECTORY, Entry

    draw = random.Random(seed)
    pool = _text(draw)
    path = place / "layer.tar.gz"
    with path.open("wb") as out, gzip.GzipFile("", "wb", 6, out, 0) as packer:
        writer = diff.Writer(packer)
        for number in range(files):
            folder = f"srv/{number // FOLDER // 50}/{number // FOLDER}"
            if not number % FOLDER:
                writer.add(Entry(f"{folder}/", DIRECTORY, 0o755))
            start, size = draw.randrange(POOL // 2), int(draw.expovariate(1 / MEAN))
            writer.bytes_file(Entry(f"{folder}/file-{number}.txt"), pool[start : start + size])
        writer.finish()
    return path


def _text(draw: random.Random) -> bytes:
    words = [bytes(draw.choices(b"abcdefghijklmnopqrstuvwxyz", k=draw.randrange(2, 12)))
             for _ in range(20_000)]  # fmt: skip
    text = b" ".join(draw.choices(words, k=POOL // 6))
    return text[:POOL]


def subjects(place: Path, packed: Path) -> dict[str, Callable[[], None]]:
    """Name -> an action that unpacks into a new directory, whose old files go before."""
    ours = [sys.executable, "-c", OWN]
    return {
        "labcontainer": _into(place, lambda to: [*ours, "", str(packed), to]),
        "labcontainer without isal": _into(
            place, lambda to: [*ours, "without isal", str(packed), to]
        ),
        "tar": _into(place, lambda to: ["tar", "-xzpf", str(packed), "-C", to]),
    }


def _into(place: Path, words: Callable[[str], list[str]]) -> Callable[[], None]:
    target = place / "unpacked"

    def action() -> None:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        line = words(str(target))
        done = subprocess.run(line, capture_output=True, text=True, check=False, env=_environment())
        if done.returncode:
            raise LabError(f"{line[0]} ended with {done.returncode}: {done.stderr.strip()}")

    return action


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
