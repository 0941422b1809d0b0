"""Who is learning: the folder of their work, and the seed that makes their right answers theirs."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

COURSE_SEED = "course"  # stored outputs are made with this one


def home() -> Path:
    """The folder that `mycontainer/` lies in: where the notebooks are, unless a variable says.

    LABCONTAINER_HOME names a place for all that labcontainer keeps, LABCONTAINER_WORK for this
    alone: in the user-mode kernel work is the host's, and images are not.
    """
    chosen = os.environ.get("LABCONTAINER_WORK") or os.environ.get("LABCONTAINER_HOME")
    return Path(chosen or os.getcwd()).resolve()


def package() -> Path:
    """The learner's own package, `mycontainer/`; it may not be there yet."""
    return home() / "mycontainer"


def seed() -> str:
    """This student's seed: LABCONTAINER_SEED, else JupyterHub's user, else made once and kept."""
    given = os.environ.get("LABCONTAINER_SEED") or os.environ.get("JUPYTERHUB_USER")
    if given:
        return given
    from labcontainer.lab import progress

    return progress.load().seed


def _random(name: str) -> random.Random:
    digest = hashlib.sha256(f"{seed()}/{name}".encode()).digest()
    return random.Random(digest)


def token(name: str) -> str:
    """A word of eight letters and digits."""
    return "".join(_random(name).choices("abcdefghjkmnpqrstuvwxyz23456789", k=8))


def number(name: str, low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included."""
    return _random(name).randint(low, high)


def choice(name: str, values: Sequence[T]) -> T:
    """One of the values."""
    return _random(name).choice(values)
