"""Two Compose files as one: what the second says counts, what only the first says stays.

All is in its long form, so there are few rules: mappings merge key by key; lists are joined, and an
entry for the same port, target or file takes the earlier one's place; a command, a health check's
test and anything that is one word is replaced. `!reset` takes a key away, `!override` replaces it
whole. Source: Compose Specification, "Merge".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from labcontainer.compose.document import Path
from labcontainer.compose.scalars import Tree

# Lists of the latest file alone.
_REPLACED = {("command",), ("entrypoint",), ("healthcheck", "test")}
# Mappings whose None is a value: "as the caller has it".
_NONE_COUNTS = {"environment", "args", "labels", "sysctls", "annotations"}


def _port_key(one: Tree) -> Any:
    return one.get("host_ip"), one.get("published"), one["target"], one["protocol"]


def _grant_key(one: Tree) -> Any:
    return one.get("target") or one["source"]


_KEYS: dict[str, Callable[[Tree], Any]] = {
    "ports": _port_key,
    "volumes": lambda one: one["target"],
    "devices": lambda one: one["target"],
    "secrets": _grant_key,
    "configs": _grant_key,
    "env_file": lambda one: one["path"],
    "config": lambda one: one.get("subnet"),  # of networks.*.ipam
}


def merge(
    base: Tree,
    over: Tree,
    resets: frozenset[Path] = frozenset(),
    overrides: frozenset[Path] = frozenset(),
) -> Tree:
    """One tree of two; neither is changed. `resets` and `overrides` are paths of the second."""
    return _Merge(resets, overrides).mappings(base, over, ())


def service(base: Tree, over: Tree, path: Path, resets: frozenset[Path],
            overrides: frozenset[Path]) -> Tree:  # fmt: skip
    """The same for two services, the second of which stands at `path`."""
    return _Merge(resets, overrides).mappings(base, over, path)


class _Merge:
    def __init__(self, resets: frozenset[Path], overrides: frozenset[Path]) -> None:
        self.resets, self.overrides = resets, overrides

    def mappings(self, base: Tree, over: Tree, path: Path) -> Tree:
        found = {key: one for key, one in base.items() if (*path, key) not in self.resets}
        for key, value in over.items():
            here = (*path, key)
            if key not in found or here in self.overrides:
                found[key] = value
            else:
                found[key] = self._values(found[key], value, here)
        return found

    def _values(self, base: Any, over: Any, path: Path) -> Any:
        inside = path[2:] if path[0] == "services" else ()
        if inside in _REPLACED:
            return over
        if over is None:
            return None if len(path) > 1 and path[-2] in _NONE_COUNTS else base
        if isinstance(base, dict) and isinstance(over, dict):
            driver = base.get("driver")
            if inside == ("logging",) and over.get("driver", driver) != driver:
                return over  # another driver has other options
            return self.mappings(base, over, path)
        if isinstance(base, list) and isinstance(over, list):
            return _joined(base, over, str(path[-1]))
        return over


def _both(one: Any, other: Any) -> bool:
    return isinstance(one, dict) and isinstance(other, dict)


def _joined(base: list[Any], over: list[Any], name: str) -> list[Any]:
    """The second list behind the first; what is of the same key takes the earlier one's place."""
    found = list(base)
    key = _KEYS.get(name)
    for one in over:
        same = [
            at
            for at, other in enumerate(found)
            if one == other or (key and _both(one, other) and key(one) == key(other))
        ]
        if same:
            found[same[0]] = one
        else:
            found.append(one)
    return found
