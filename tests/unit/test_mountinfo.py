"""Lines of /proc/PID/mountinfo."""

from __future__ import annotations

import os
from pathlib import Path

from labcontainer.kernel import mountinfo

TABLE = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
36 35 98:0 /mnt1 /mnt\0402/\134x rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue
37 35 98:0 / /a rw unbindable - ext3 /dev/root rw
"""


def test_points_and_tags() -> None:
    proc, both, alone = mountinfo.read_table(TABLE)
    assert (proc.point, proc.tags) == ("/proc", ())
    assert both.point == "/mnt 2/\\x"
    assert both.has("shared") and both.has("master")
    assert not alone.has("shared") and alone.tags == ("unbindable",)


def test_this_machine(tmp_path: Path) -> None:
    assert mountinfo.is_mounted("/proc") and not mountinfo.is_mounted(str(tmp_path))
    assert mountinfo.holding("/proc/self/status").point == "/proc"
    (tmp_path / "way").symlink_to("/proc")
    assert mountinfo.holding(f"{tmp_path}/way/1").point == "/proc"
    found = mountinfo.holding(str(tmp_path)).point
    assert os.path.ismount(found) and str(tmp_path).startswith(found)
