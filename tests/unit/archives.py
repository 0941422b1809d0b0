"""Layers for tests: packed from a tree, unpacked into one, and made as no honest tool would."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from hypothesis import HealthCheck, settings

from labcontainer import errors
from labcontainer.image import diff, layers
from labcontainer.image.tarformat import Entry

ROOT = os.geteuid() == 0
slow_disk = settings(deadline=None, max_examples=60,
                     suppress_health_check=[HealthCheck.too_slow])  # fmt: skip


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def packed(path: Path, **options: Any) -> tuple[bytes, diff.Packed]:
    out = io.BytesIO()
    with opened(path) as fd:
        found = diff.pack(fd, out, **options)
    return out.getvalue(), found


def apply(data: bytes, path: Path, *, whiteouts: Literal["overlay", "apply"] = "overlay",
          **options: Any) -> layers.Applied:  # fmt: skip
    path.mkdir(exist_ok=True)
    with opened(path) as fd:
        return layers.apply(io.BytesIO(data), fd, owners=ROOT, user_xattr=not ROOT,
                            whiteouts=whiteouts, **options)  # fmt: skip


def archive(*members: Entry | tuple[Entry, bytes]) -> bytes:
    """An archive that no honest tool would write."""
    out = io.BytesIO()
    writer = diff.Writer(out)
    for member in members:
        if isinstance(member, Entry):
            writer.add(member)
        else:
            writer.bytes_file(*member)
    writer.finish()
    return out.getvalue()


def one_line(act: Callable[[], object]) -> None:
    """Do it; it may be refused, in one line."""
    said = ""
    try:
        act()
    except errors.LabError as error:
        said = str(error)
    assert "\n" not in said
