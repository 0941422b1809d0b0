"""The start of the `labcontainer` command, without site-packages until something asks for them.

Python's `site` looks through what an environment installs into every start, which takes as long as
a container's birth. launcher.py writes a command that starts without it (python -IS); the finder
here, the last that an import asks, makes up for it.
"""

from __future__ import annotations

import gc
import os
import sys

from labcontainer.cli import main

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from typing import NoReturn


class SitePackages:
    """A finder (see importlib.abc.MetaPathFinder) that adds site-packages once, and looks there."""

    def find_spec(
        self, name: str, path: object = None, _target: object = None
    ) -> ModuleSpec | None:
        """Where a module is that no other finder knew."""
        if path is not None:
            return None  # a part of a package that has been found
        add_site_packages()
        from importlib.util import find_spec

        return find_spec(name)


_FINDER = SitePackages()


def add_site_packages() -> None:
    """Do what Python does at its start unless it is told not to: site(3) of this environment."""
    if _FINDER in sys.meta_path:
        sys.meta_path.remove(_FINDER)
        import site

        site.main()


def command() -> NoReturn:
    """Be the command: run it and end."""
    sys.meta_path.append(_FINDER)
    gc.enable()
    leave(main.main())


def leave(status: int) -> NoReturn:
    """End without the time that Python takes to clean up, where nobody waits for that.

    Threads, and what asked to be called at the end (atexit), are waited for by the ordinary way.
    """
    if "threading" in sys.modules or "atexit" in sys.modules:
        sys.exit(status)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        sys.exit(status)  # it says what could not be written
    os._exit(status)
