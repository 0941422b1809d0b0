"""images.saved: read what `docker save` wrote."""

from __future__ import annotations

import errno
import io
import json
import tarfile

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import json
import tarfile


def saved(path: str) -> dict[str, list[list[str]]]:
    """What a `docker save` archive holds: name -> for each layer, the lowest first, its files.

    An image without a name is left out, as nothing could be said to mean it.
    """
    images = {}
    with tarfile.open(path) as archive:
        for image in json.load(archive.extractfile("manifest.json")):
            ...
    return images
'''

_READ = """\
            for name in image["RepoTags"] or []:
                images[name] = []
                for layer in image["Layers"]:
                    with tarfile.open(fileobj=archive.extractfile(layer)) as inner:
                        images[name].append(inner.getnames())
"""
SOLUTION = HOLE.replace("            ...\n", _READ)

FIRST_NAME = SOLUTION.replace('image["RepoTags"] or []', 'image["RepoTags"][:1]')
NAMED_ONLY = SOLUTION.replace(" or []", "")
UPSIDE_DOWN = SOLUTION.replace('in image["Layers"]', 'in reversed(image["Layers"])')
ONE_LIST = SOLUTION.replace("append(inner", "extend(inner")


def check(trial: Trial) -> Outcome:
    word = trial.token("word")
    base, top = [f"base-{word}", "etc"], [f"app-{trial.secret()}"]
    room = trial.directory("room")
    with open(f"{room}/saved.tar", "wb") as file:
        file.write(_archive(word, base, top))
    wanted = {f"{word}:1": [base, top], f"{word}:latest": [base, top], "base:1": [base]}
    found = trial.call("saved", f"{room}/saved.tar")
    if found == wanted:
        return done("three names, two images, layers from the lowest up")
    names = sorted(found) if isinstance(found, dict) else []
    if names != sorted(wanted):
        return not_yet(
            expected=f"the names {', '.join(sorted(wanted))}",
            observed=", ".join(names) or repr(found),
            where="RepoTags",
            hint="One image may have several names: a list.",
        )
    seen = found[f"{word}:1"]
    return not_yet(
        expected=f"{word}:1 has two layers: {base}, then the one above",
        observed=str(seen).replace(top[0], "app-…"),
        where="Layers",
        hint="manifest.json lists the layers from the lowest up; keep that order."
        if seen == [top, base]
        else "Each layer is an archive in the archive: a list of its own, of inner.getnames().",
    )


def _archive(word: str, base: list[str], top: list[str]) -> bytes:
    """An archive of three images in Docker's form; one of them has no name (null)."""
    members: dict[str, bytes] = {
        "b/layer.tar": _tar(dict.fromkeys(base, b"")), "a/layer.tar": _tar(dict.fromkeys(top, b""))
    }  # fmt: skip
    described = [
        {"Config": "one.json", "RepoTags": [f"{word}:1", f"{word}:latest"],
         "Layers": ["b/layer.tar", "a/layer.tar"]},
        {"Config": "two.json", "RepoTags": ["base:1"], "Layers": ["b/layer.tar"]},
        {"Config": "three.json", "RepoTags": None, "Layers": ["a/layer.tar"]},
    ]  # fmt: skip
    members["manifest.json"] = json.dumps(described).encode()
    return _tar(members)


def _tar(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return out.getvalue()


EXERCISE = Exercise(
    id="images.saved",
    notebook="10_images",
    title="Read what docker save wrote",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    errors=((errno.ENOENT, "Layers are members of the archive: archive.extractfile(name)."),),
    hints=(
        "Each entry has `RepoTags` (a list of names, or null) and `Layers` (names of members).",
        "`tarfile.open(fileobj=archive.extractfile(layer))` opens an archive in an archive.",
        'For each name in `image["RepoTags"] or []`: a list with one `inner.getnames()` a layer.',
    ),
    wrong=(
        Wrong(FIRST_NAME, "NoneType"),
        Wrong(NAMED_ONLY, "NoneType"),
        Wrong(UPSIDE_DOWN, "from the lowest up; keep that order"),
        Wrong(ONE_LIST, "a list of its own"),
    ),
)
