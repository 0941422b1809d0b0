"""The first call of every notebook."""

from __future__ import annotations

from labcontainer.lab import cells, doctor


def start(notebook: str) -> None:
    """Make ready for a notebook: `%%exercise`, your own package on the path, one line of where."""
    cells.register()
    print(f"{notebook} · this machine: {doctor.tier_sentence()}")
