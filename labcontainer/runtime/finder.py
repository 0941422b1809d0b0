"""Finds the runtime's modules in one file of compiled code; archive.py writes it.

An ordinary import looks for each module in several places and opens its file: for the 40 modules of
a `run` that takes 8 ms. Here all is read at once, and what is left to ask of each module is whether
its source is still the one that was compiled. If it is not, this finder does not know the module,
and the ordinary import finds it.

The command runs this file before it has imported anything: it uses only what every Python has.
"""

from __future__ import annotations

import marshal
import posix
import sys
from _frozen_importlib import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    # Of a module: its source, when that was changed (ns), its size, whether it is a package, where
    # its code lies in the archive, and which modules of ours it imports first of all.
    Entry = tuple[str, int, int, bool, int, int, tuple[str, ...]]


class Finder:
    """Finder and loader in one: see `sys.meta_path` and importlib.abc."""

    def __init__(self, entries: dict[str, Entry], codes: memoryview) -> None:
        self._entries = entries
        self._codes = codes

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> Any:
        """The module's specification, if the archive has it and its source has not changed."""
        if name not in self._entries:
            return None
        source, changed, size, is_package, *_ = self._entries[name]
        try:
            now = posix.stat(source)
        except OSError:
            return None
        if (now.st_mtime_ns, now.st_size) != (changed, size):
            return None
        spec: Any = ModuleSpec(name, self, origin=source, is_package=is_package)  # type: ignore[arg-type]
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [source.rpartition("/")[0]]
        return spec

    def create_module(self, _spec: object) -> None:
        """The ordinary kind of module will do."""
        return

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code, and that of the modules which it imports before it.

        They get here without importlib's locks and looking: of 40 modules that takes 1 ms.
        """
        *_, start, end, imports = self._entries[module.__name__]
        for name in imports:
            if name not in sys.modules and (spec := self.find_spec(name)) is not None:
                self._load(spec)
        exec(marshal.loads(self._codes[start:end]), module.__dict__)

    def _load(self, spec: Any) -> None:
        name: str = spec.name
        module: Any = type(sys)(name)
        module.__spec__, module.__loader__, module.__file__ = spec, self, spec.origin
        module.__package__ = spec.parent
        if spec.submodule_search_locations:
            module.__path__ = spec.submodule_search_locations
        sys.modules[name] = module
        try:
            self.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        above, _, last = name.rpartition(".")
        if above:
            setattr(sys.modules[above], last, module)


def install(entries: dict[str, Entry], codes: memoryview) -> None:
    """Have imports look here before anywhere else."""
    sys.meta_path.insert(0, Finder(entries, codes))
