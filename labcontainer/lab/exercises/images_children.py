"""images.children: what a document of an image points to."""

from __future__ import annotations

import json
from typing import Any

from labcontainer.image import documents
from labcontainer.image.documents import Descriptor, Index, Manifest
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def children(document: dict) -> list[str]:
    """The digests that a document points to: an index to manifests, a manifest to its parts.

    In the order in which they stand, a manifest's configuration first.
    """
    ...
'''

SOLUTION = '''\
def children(document: dict) -> list[str]:
    """The digests that a document points to: an index to manifests, a manifest to its parts.

    In the order in which they stand, a manifest's configuration first.
    """
    if "manifests" in document:
        return [one["digest"] for one in document["manifests"]]
    if "layers" in document:
        return [one["digest"] for one in [document["config"], *document["layers"]]]
    return []
'''

NO_CONFIG = SOLUTION.replace('[document["config"], *document["layers"]]', 'document["layers"]')
CONFIG_LAST = SOLUTION.replace(
    '[document["config"], *document["layers"]]', '[*document["layers"], document["config"]]'
)
NO_INDEX = SOLUTION.replace(
    'if "manifests" in document:\n        return [one["digest"] for one in document["manifests"]]',
    "",
)
DIFF_IDS = SOLUTION.replace("    return []\n", '    return document["rootfs"]["diff_ids"]\n')


def check(trial: Trial) -> Outcome:
    parts = [documents.digest_of(f"{trial.secret()}{number}".encode()) for number in range(7)]
    layers = [Descriptor(documents.OCI_LAYER_GZIP, one, 10) for one in parts[1:4]]
    config = Descriptor(documents.OCI_CONFIG, parts[0], 10)
    manifest = Manifest(documents.OCI_MANIFEST, config, tuple(layers)).encode()
    entries = [Descriptor(documents.OCI_MANIFEST, one, 10) for one in parts[4:6]]
    index = Index(documents.OCI_INDEX, tuple(entries)).encode()
    image = documents.ImageConfig(documents.host_platform(), tuple(parts[1:4])).encode()
    for what, data, wanted, hint in (
        ("a manifest", manifest, parts[:4],
         "A manifest has a configuration and a list of layers; the configuration comes first."),
        ("an index", index, parts[4:6], "An index has a list `manifests`."),
        ("a configuration", image, [],
         "A configuration is a leaf: diff_ids are digests of unpacked layers, no blobs."),
    ):  # fmt: skip
        found = trial.attempt("children", json.loads(data))
        if found.value != wanted:
            return not_yet(
                expected=f"{len(wanted)} digests of {what}",
                observed=found.error or _short(found.value, wanted),
                where="`children`",
                hint=hint,
            )
    return done("index, manifest and configuration: every edge of the tree")


def _short(found: Any, wanted: list[str]) -> str:
    if not isinstance(found, list):
        return repr(found)
    return "the same in another order" if set(found) == set(wanted) else f"{len(found)} digests"


EXERCISE = Exercise(
    id="images.children",
    notebook="10_images",
    title="Walk the tree",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "Three kinds of documents: which keys does each have?",
        "`manifests` is an index's list; `config` and `layers` are a manifest's.",
        "Each entry is a descriptor: a dictionary with `digest`. A configuration gives [].",
    ),
    wrong=(
        Wrong(NO_CONFIG, "the configuration comes first"),
        Wrong(CONFIG_LAST, "in another order"),
        Wrong(NO_INDEX, "a list `manifests`"),
        Wrong(DIFF_IDS, "no blobs"),
    ),
)
