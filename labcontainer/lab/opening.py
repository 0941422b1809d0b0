"""The first call of every notebook."""

from __future__ import annotations

from labcontainer.errors import UsageError
from labcontainer.lab import cells, doctor, helper, where

ORDER = ("T0", "T1", "T2")


def start(notebook: str, tier: str = "T1") -> None:
    """Make ready for a notebook: `%%exercise`, your own package on the path, one line of where.

    `tier` is the least that the notebook needs: T0 plain Python, T1 user namespaces, T2 root. A
    second time, as when all cells are run once more, what they built is gone, and they can build
    it again.
    """
    if tier not in ORDER:
        raise UsageError(f"tier is one of {', '.join(ORDER)}")
    cells.register()
    helper.begin()
    if not _enough(tier) and where.current() == where.HERE and not where.asked():
        if doctor.probe("uml")[0]:
            use(where.UML)
    helper.mode()  # the helper starts now, so that no later cell waits for it
    print(f"{notebook} needs {tier} · this machine: {doctor.tier_sentence()}")
    if not _enough(tier):
        print(_missing(tier))


def use(place: str) -> None:
    """Where cells, checks and commands run from now on: "here", or "uml", the user-mode kernel.

    What was built by earlier cells is gone. LABCONTAINER_WHERE chooses for all notebooks.
    """
    helper.restart()
    where.choose(place)
    doctor.forget()


def _enough(tier: str) -> bool:
    return ORDER.index(doctor.best_tier()) >= ORDER.index(tier)


def _missing(tier: str) -> str:
    """Why the cells below will say no, and what helps."""
    row = doctor.tiers()[tier]
    return f"Cells below will fail here. {row.cause}\nFix: {row.fix}"
