"""`labcontainer save load import` as a shell sees them: words, files, statuses."""

from __future__ import annotations

import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from labcontainer.image.store import Store
from tests.unit import images

ROOT = Path(__file__).resolve().parents[2]


class Shell:
    """Calls with a store of their own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.store = Store(str(place / "home/images"))

    def __call__(
        self, *words: str | Path, data: bytes = b"", stdin: int | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        surroundings = {**os.environ, "LABCONTAINER_HOME": f"{self.place}/home",
                        "PYTHONPATH": str(ROOT)}  # fmt: skip
        argv = [sys.executable, "-m", "labcontainer.cli.main", *map(str, words)]
        return subprocess.run(argv, capture_output=True, check=False, env=surroundings,
                              cwd=self.place, stdin=stdin,
                              input=data if stdin is None else None)  # fmt: skip

    def refused(self, *words: str | Path, data: bytes = b"") -> str:
        """What a call that must fail says, in one line."""
        done = self(*words, data=data)
        assert done.returncode != 0
        assert done.stdout == b""
        (line,) = done.stderr.decode().splitlines()
        return line


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    made = Shell(tmp_path)
    images.image(made.store, {"f": b"x"}, names=("app:1", "app:2"))
    return made


def test_save_and_load_by_file(shell: Shell) -> None:
    out = shell.place / "a.tar"
    out.write_bytes(b"what was there before")
    out.chmod(0o644)
    assert shell("save", "-o", out, "app:1", "app:2").returncode == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    done = shell("load", "-i", out)
    assert done.stdout == b"Loaded image: app:1\nLoaded image: app:2\n"
    assert shell("load", "--quiet", data=out.read_bytes()).stdout == done.stdout
    assert sorted(os.listdir(shell.place)) == ["a.tar", "home"]


def test_save_through_a_pipe_is_the_same_file(shell: Shell) -> None:
    shell("save", "-o", "a.tar", "app:1")
    assert shell("save", "app:1").stdout == (shell.place / "a.tar").read_bytes()


def test_an_image_by_id_has_no_name(shell: Shell) -> None:
    identity = shell.store.image("app:1").id
    data = shell("save", identity).stdout
    assert shell("load", data=data).stdout.decode() == f"Loaded image ID: {identity}\n"


def test_where_save_does_not_write(shell: Shell) -> None:
    os.mkfifo(shell.place / "pipe")
    assert "cannot write to /dev/null" in shell.refused("save", "-o", "/dev/null", "app:1")
    assert "a pipe" in shell.refused("save", "-o", "pipe", "app:1")
    assert "a directory" in shell.refused("save", "-o", ".", "app:1")
    assert "No such file" in shell.refused("save", "-o", "no/where.tar", "app:1")
    assert "No such image: no:1" in shell.refused("save", "-o", "x.tar", "app:1", "no:1")
    assert sorted(os.listdir(shell.place)) == ["home", "pipe"]
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_what_a_link_leads_to_is_replaced(shell: Shell) -> None:
    (shell.place / "link").symlink_to("real.tar")
    shell("save", "-o", "link", "app:1")
    assert (shell.place / "link").is_symlink()
    assert (shell.place / "real.tar").stat().st_size > 0


def test_no_archive_to_or_from_a_terminal(shell: Shell) -> None:
    ours, theirs = pty.openpty()
    try:
        done = shell("load", stdin=theirs)
        assert b"stdin is empty" in done.stderr
        line = [sys.executable, "-m", "labcontainer.cli.main", "save", "app:1"]
        saved = subprocess.run(line, stdout=theirs, stderr=subprocess.PIPE, check=False,
                               env={**os.environ, "LABCONTAINER_HOME": f"{shell.place}/home"},
                               cwd=ROOT)  # fmt: skip
        assert saved.returncode != 0
        assert b"cowardly refusing to save to a terminal" in saved.stderr
    finally:
        os.close(ours)
        os.close(theirs)


def test_what_load_and_import_refuse(shell: Shell) -> None:
    assert "No such file" in shell.refused("load", "-i", "nowhere")
    assert "no tar archive" in shell.refused("load", data=b"garbage" * 1000)
    assert "holds no image" in shell.refused("load", data=b"")
    assert "no tar archive" in shell.refused("import", "-", "a:1", data=b"garbage" * 1000)
    assert "RUN" in shell.refused("import", "-c", "RUN x", "-", data=images.archive({})[0])


def test_import_with_changes(shell: Shell) -> None:
    data, diff_id = images.archive({"bin/": None, "bin/sh": b"x"})
    done = shell("import", "-c", 'CMD ["sh"]', "-c", "ENV A=b", "-m", "by hand", "-", "root:1",
                 data=data)  # fmt: skip
    found = shell.store.image("root:1")
    assert done.stdout.decode() == f"{found.id}\n"
    assert found.config.diff_ids == (diff_id,)
    assert found.config.config == {"Cmd": ["sh"], "Env": ["A=b"]}
    assert found.config.history[0]["comment"] == "by hand"
