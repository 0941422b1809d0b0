"""Projects from texts, for the tests of Compose."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from labcontainer.compose import loading, sources
from labcontainer.compose.model import Project


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """Write files below a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def load(
    folder: Path,
    files: Mapping[str, str] | str,
    *words: str,
    env: Mapping[str, str] | None = None,
    warnings: list[str] | None = None,
    **asked: tuple[str, ...] | str,
) -> Project:
    """The project of these files; a text alone is compose.yaml. `words` are files given by -f."""
    write(folder, {"compose.yaml": files} if isinstance(files, str) else files)
    told = [] if warnings is None else warnings
    request = sources.Asked(files=words, caller=env or {}, **asked)  # type: ignore[arg-type]
    return loading.load(request, os.fspath(folder), told.append)


def of(text: str, folder: Path) -> Project:
    """A project called `p`."""
    return load(folder, text, name="p")
