"""Every notebook from top to bottom by nbval: its stored outputs are what it prints here."""

from __future__ import annotations

import resource
from pathlib import Path

import nbformat
import pytest

from labcontainer.lab import doctor
from tests.notebooks.learner import HANGS, NOTEBOOKS, code_cells, learner, nbval, tier, who_can

pytestmark = pytest.mark.timeout(HANGS + 60)
LIMIT = 60  # seconds of the processor: others may keep this machine busy
by_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


# A T2 notebook needs root; the others are run as an ordinary user too.
RUNS = [(path, uid) for path in NOTEBOOKS for uid in who_can(path)]


def processor_seconds() -> float:
    """What all children of this process that have ended have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize(("path", "uid"), RUNS, ids=[f"{p.stem}-uid{uid}" for p, uid in RUNS])
def test_outputs_are_the_stored_ones(path: Path, uid: int) -> None:
    _skip_where_the_tier_is_missing(tier(path))
    with learner(uid) as student:
        before = processor_seconds()
        ended = student.run(nbval(path))
        used = processor_seconds() - before
        left = sorted(entry.name for entry in student.home.iterdir() if entry.name[0] != ".")
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
    assert used < LIMIT, f"it took {used:.0f} s of processor time"
    # images/, engine/ and single/ are where labcontainer keeps images and containers.
    assert set(left) <= {"mycontainer", "images", "engine", "single"}, "nothing else is written"


def _skip_where_the_tier_is_missing(name: str) -> None:
    found = doctor.tiers()[name]
    if not found.ok:
        pytest.skip(f"{name}: {found.cause}; fix: {found.fix}")


@by_notebook
def test_no_output_is_an_error_that_was_not_meant(path: Path) -> None:
    for cell in code_cells(nbformat.read(path, as_version=4)):
        errors = [one for one in cell.outputs if one.output_type == "error"]
        assert not errors or "raises-exception" in cell.metadata.get("tags", []), cell.source
