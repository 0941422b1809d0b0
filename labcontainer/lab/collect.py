"""`labcontainer lab collect`: submissions into one folder, with a manifest.

INTO/manifest.json                  who, when, late or not, the digest of each file
INTO/STUDENT/notebooks/*.ipynb      only files of the course, as they were handed in
INTO/STUDENT/mycontainer/…          progress.json, and the package's modules
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labcontainer.errors import NotFoundError, SpecError, UsageError
from labcontainer.lab import handed_in
from labcontainer.lab.handed_in import File, Refused
from labcontainer.record import Record

FORMAT = 1
MANIFEST = "manifest.json"
NAME = re.compile(r"\w[\w.@+-]{0,63}")  # letters of any script, as names have them


class Taken(Record):
    """What became of a submission: `collected`, `replaced`, `unchanged` or `refused`, and why."""

    student: str
    source: str
    state: str
    why: str = ""
    late: bool = False


def collect(
    source: Path, into: Path, layout: str = "{student}", until: str = "", replace: bool = False
) -> list[Taken]:
    """Take in every submission below `source`; what became of each, by name.

    Args:
        layout: where a submission is, seen from `source`: `{student}` is its name, `*` anything.
        until: an ISO 8601 time; what was changed later is marked late.
        replace: take a student's files anew where others are there already.

    Raises:
        NotFoundError, UsageError, SpecError: `source` is not there; the layout or the time is none;
            `into` holds another manifest.
    """
    if not source.is_dir():
        raise NotFoundError(f"{source} is not a folder")
    limit = _moment(until) if until else None
    manifest = load(into) if (into / MANIFEST).exists() else _empty()
    into.mkdir(parents=True, exist_ok=True)
    results = []
    taken = {_folded(name): name for name in manifest["students"]}
    for name, place in sorted(_submissions(source, layout)):
        try:
            _check_name(name, taken)
            entry, files = _read(place, source, limit)
            state = _keep(into, name, entry, files, manifest, replace)
            results.append(Taken(name, entry["source"], state, late=entry["late"]))
            _write(into, manifest)
        except (Refused, OSError) as error:
            results.append(Taken(name, str(place.relative_to(source)), "refused", str(error)))
    return results


def _empty() -> dict[str, Any]:
    return {"format": FORMAT, "students": {}}


def load(folder: Path) -> dict[str, Any]:
    """The manifest of a collected folder.

    Raises:
        NotFoundError, SpecError: there is none, or it is of another kind.
    """
    path = folder / MANIFEST
    try:
        document: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise NotFoundError(f"{path} is not there: collect first") from None
    except ValueError as error:
        raise SpecError(str(path), f"not a manifest ({error})") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise SpecError(str(path), f"not a manifest of format {FORMAT}")
    return document


# --- which are there ----------------------------------------------------------------------------


def _submissions(source: Path, layout: str) -> Iterator[tuple[str, Path]]:
    """(student, folder or archive) of each submission."""
    if layout.count("{student}") != 1 or layout.startswith("/") or ".." in layout.split("/"):
        raise UsageError(
            f"--layout {layout!r}: a path below the folder with {{student}} in it once"
        )
    parts = layout.strip("/").split("/")
    for place, name in _matching(source, parts, ""):
        yield unicodedata.normalize("NFC", name), place


def _matching(folder: Path, parts: list[str], student: str) -> Iterator[tuple[Path, str]]:
    if not parts:
        yield folder, student
        return
    words = re.escape(parts[0]).replace(r"\{student\}", "(?P<student>.+)").replace(r"\*", ".*")
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        archive = len(parts) == 1 and entry.name.endswith(handed_in.ARCHIVES)
        stem = _without_ending(entry.name) if archive else entry.name
        if entry.name.startswith(".") or entry.is_symlink() or not (archive or entry.is_dir()):
            continue
        if match := re.fullmatch(words, stem, re.DOTALL):
            name = match.groupdict().get("student") or student
            yield from _matching(folder / entry.name, parts[1:], name)


def _without_ending(name: str) -> str:
    ending = max((one for one in handed_in.ARCHIVES if name.endswith(one)), key=len)
    return name.removesuffix(ending)


def _check_name(name: str, taken: dict[str, str]) -> None:
    """A name becomes a folder's, and two must not become one."""
    if not NAME.fullmatch(name):
        raise Refused("the name is not one word of letters, digits and . _ @ + -")
    other = taken.setdefault(_folded(name), name)
    if other != name:
        raise Refused(f"the name differs from {other} in capitals alone")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


# --- one of them --------------------------------------------------------------------------------


def _read(
    place: Path, source: Path, limit: datetime.datetime | None
) -> tuple[dict[str, Any], dict[str, File]]:
    files = handed_in.read(place)
    time = datetime.datetime.fromtimestamp(max(file.time for file in files.values()), datetime.UTC)
    entry = {
        "source": str(place.relative_to(source)),
        "time": time.isoformat(timespec="seconds"),
        "late": limit is not None and time > limit,
        "files": {path: _described(files[path]) for path in sorted(files)},
    }
    return entry, files


def _described(file: File) -> dict[str, Any]:
    digest = hashlib.sha256(file.data).hexdigest()
    return {"from": file.path, "digest": f"sha256:{digest}", "size": len(file.data)}


def _keep(
    into: Path,
    name: str,
    entry: dict[str, Any],
    files: dict[str, File],
    manifest: dict[str, Any],
    replace: bool,
) -> str:
    """Write one student's files, whole or not at all; what was done."""
    target, before = into / name, manifest["students"].get(name)
    if before is not None and _digests(before) == _digests(entry):
        return "unchanged"
    there = os.path.lexists(target)
    if there and not replace:
        raise Refused(f"other files of {name} are there already; --replace takes these instead")
    new = into / f".new-{name}"
    shutil.rmtree(new, ignore_errors=True)
    for path, file in files.items():
        (new / path).parent.mkdir(parents=True, exist_ok=True)
        (new / path).write_bytes(file.data)
    if there:
        shutil.rmtree(target)
    new.rename(target)
    manifest["students"][name] = entry
    return "replaced" if there else "collected"


def _digests(entry: dict[str, Any]) -> dict[str, str]:
    return {path: file["digest"] for path, file in entry["files"].items()}


def _write(into: Path, manifest: dict[str, Any]) -> None:
    new = into / f".{MANIFEST}.new"
    new.write_text(json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    new.replace(into / MANIFEST)


def _moment(text: str) -> datetime.datetime:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--until {text!r}: a time like 2026-12-01T23:59, local or with +01:00") \
            from None  # fmt: skip
    return moment.astimezone()
