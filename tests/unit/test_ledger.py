"""The ledger: alone with its file whoever else comes, and no file once it has nothing to tell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from labcontainer.errors import LabError
from labcontainer.ledger import Ledger

# Enters many times; a file that must not be there says whether somebody else is inside.
CROWD = """
import os, sys
from labcontainer.ledger import Ledger
path, me = sys.argv[1:]
for turn in range(60):
    with Ledger(path) as ledger:
        os.close(os.open(path + ".inside", os.O_CREAT | os.O_EXCL))
        mine = ledger.section("things")
        mine[me] = {}
        ledger.save()
        os.unlink(path + ".inside")
    with Ledger(path) as ledger:
        os.close(os.open(path + ".inside", os.O_CREAT | os.O_EXCL))
        assert ledger.section("things").pop(me) == {}
        ledger.save()
        os.unlink(path + ".inside")
"""


def test_what_is_written_is_there_the_next_time(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "new/ledger.json"))
    with ledger:
        ledger.section("bridges")["lc0"] = {"a": 1}
        ledger.save()
    with ledger:
        assert ledger.section("bridges") == {"lc0": {"a": 1}}


def test_with_nothing_to_give_back_no_file_stays(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "ledger.json"))
    with ledger:
        ledger.section("bridges")["lc0"] = {}
        ledger.save()
    assert {path.name for path in tmp_path.iterdir()} == {"ledger.json", "ledger.json.lock"}
    with ledger:
        ledger.section("bridges").clear()
        ledger.save()
    assert list(tmp_path.iterdir()) == []
    with ledger:
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_crowd_is_in_it_one_at_a_time_though_the_lock_file_comes_and_goes(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "ledger.json")
    words = [sys.executable, "-c", CROWD, path]
    crowd = [subprocess.Popen([*words, str(n)], stderr=subprocess.PIPE) for n in range(5)]
    said = [process.communicate(timeout=60)[1] for process in crowd]
    assert [process.returncode for process in crowd] == [0] * 5, said
    assert os.listdir(tmp_path) == []


def test_a_torn_file_is_told_and_the_lock_given_back(tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"
    path.write_text("{")
    for _ in range(2):
        with pytest.raises(LabError, match="is torn"), Ledger(str(path)):
            pass
