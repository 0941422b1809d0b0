"""`docker search`: asked of the registry's index, in the old form that Docker still speaks."""

from __future__ import annotations

import json
from urllib.parse import urlencode

from labcontainer import errors
from labcontainer.engine import filters
from labcontainer.image import reference, registries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from labcontainer.image.auth import Credentials

    Document = dict[str, Any]

INDEX = "https://index.docker.io"
ALLOWED = ("is-automated", "is-official", "stars")
USUAL, MOST = 25, 100  # results
LARGEST = 4 << 20  # bytes of an answer
FIELDS = {"name": str, "description": str, "star_count": int, "is_official": bool,
          "is_automated": bool}  # fmt: skip


def search(
    term: str, limit: int, wanted: Mapping[str, list[str]], asker: Credentials | None
) -> list[Document]:
    """What the index knows of a word; `REGISTRY/WORD` asks that registry's.

    Raises:
        UsageError: the limit or a filter is off. RegistryError: the index can't be reached.
    """
    filters.check(wanted, ALLOWED)
    if not 0 <= limit <= MOST:
        raise errors.UsageError(f"limit {limit} is outside the range of [1, {MOST}]")
    least = _stars(wanted)
    found = [one for one in _asked(term, limit or USUAL, asker) if one["star_count"] >= least]
    for key, field in (("is-official", "is_official"), ("is-automated", "is_automated")):
        if key in wanted:
            truth = filters.is_true(wanted, key)
            found = [one for one in found if one[field] == truth]
    return found


def _stars(wanted: Mapping[str, list[str]]) -> int:
    words = wanted.get("stars", ["0"])
    if not all(word.isdecimal() for word in words):
        raise errors.UsageError(f"invalid filter 'stars={words[0]}'")
    return max(map(int, words))


def _asked(term: str, limit: int, asker: Credentials | None) -> list[Document]:
    from labcontainer.image.registries import Place
    from labcontainer.image.session import RegistryError, Session

    first, slash, rest = term.partition("/")
    place = Place(INDEX, reference.HUB)
    if slash and ("." in first or ":" in first or first == "localhost"):
        place, term = registries.place(first), rest
    session = Session(place, asker)
    answer = session.request("GET", f"/v1/search?{urlencode({'q': term, 'n': limit})}")
    data = session.bounded(answer, LARGEST, "the list of results")
    try:
        results = json.loads(data)["results"]
        return [{name: kind(one.get(name) or kind()) for name, kind in FIELDS.items()}
                for one in results]  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RegistryError(f"{place.registry}: the list of results is no JSON of one") from None
