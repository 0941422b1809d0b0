"""Submissions into one folder: what is taken, under which name, and what is refused."""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from labcontainer.errors import NotFoundError, SpecError, UsageError
from labcontainer.lab import collect, handed_in
from labcontainer.lab.collect import Taken

NOTEBOOK = "02_chroot.ipynb"


def submission(folder: Path, text: str = "{}") -> Path:
    folder.mkdir(parents=True)
    (folder / NOTEBOOK).write_text(text)
    return folder


def zipped(path: Path, **files: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/"), text)
    return path


def tarred(path: Path, *members: tarfile.TarInfo, mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for member in members:
            archive.addfile(member, io.BytesIO(bytes(member.size)) if member.isfile() else None)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> \
        tarfile.TarInfo:  # fmt: skip
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, size, link
    return made


def one(source: Path, into: Path, **options: object) -> Taken:
    (taken,) = collect.collect(source, into, **options)  # type: ignore[arg-type]
    return taken


def test_the_files_of_the_course_are_taken_and_no_others(tmp_path: Path) -> None:
    folder = submission(tmp_path / "in/ann/work/deep")
    (folder / "mycontainer").mkdir()
    for name in ("chroot.py", "progress.json", "notes.txt", ".secret.py"):
        (folder / "mycontainer" / name).write_text(name)
    (folder / "holiday.ipynb").write_text("{}")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / NOTEBOOK).write_text("old")
    assert one(tmp_path / "in", tmp_path / "all").state == "collected"
    top = tmp_path / "all/ann"
    found = sorted(str(path.relative_to(top)) for path in top.rglob("*") if path.is_file())
    assert found == ["mycontainer/chroot.py", "mycontainer/progress.json", f"notebooks/{NOTEBOOK}"]
    manifest = json.loads((tmp_path / "all/manifest.json").read_text())
    assert sorted(manifest["students"]["ann"]["files"]) == found
    described = manifest["students"]["ann"]["files"]["mycontainer/chroot.py"]
    assert described["from"] == "work/deep/mycontainer/chroot.py"
    assert described["digest"].startswith("sha256:") and described["size"] == 9


def test_the_copy_nearest_to_the_top_counts_then_the_newest(tmp_path: Path) -> None:
    submission(tmp_path / "in/ann/old/copy", "deep")
    for name, time in (("a", 1_000), ("b", 2_000)):
        folder = submission(tmp_path / "in/ann" / name, name)
        os.utime(folder / NOTEBOOK, (time, time))
    collect.collect(tmp_path / "in", tmp_path / "all")
    assert (tmp_path / f"all/ann/notebooks/{NOTEBOOK}").read_text() == "b"


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2"])
def test_archives_are_read_where_they_are(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"in/ann{ending}"
    if ending == ".zip":
        zipped(path, **{f"any__{NOTEBOOK}": "{}"})
    else:
        kind = {".tar.gz": "gz", ".tgz": "gz", ".tar.xz": "xz", ".tar.bz2": "bz2"}.get(ending, "")
        tarred(path, member(f"any/{NOTEBOOK}", size=2), mode=f"w:{kind}")
    assert one(tmp_path / "in", tmp_path / "all") == Taken("ann", f"ann{ending}", "collected")


def bomb(path: Path) -> None:
    zipped(path, **{NOTEBOOK: "0" * (handed_in.LARGEST + 1)})


def many(path: Path) -> None:
    zipped(path, **{f"file{number}": "" for number in range(handed_in.MOST + 1)})


def no_archive(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("no archive")


def cut_off(path: Path) -> None:
    whole = zipped(path, **{NOTEBOOK: "x" * 1000}).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def linked(path: Path) -> None:
    info = zipfile.ZipInfo(NOTEBOOK)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/shadow")


HOSTILE: list[tuple[str, Callable[[Path], object], str]] = [
    (".zip", lambda path: zipped(path, **{"..__up": "x", NOTEBOOK: "x"}), "leads out"),
    (".zip", lambda path: zipped(path, **{"__etc__passwd": "x", NOTEBOOK: "x"}), "leads out"),
    (".zip", bomb, "larger than 16 MB"),
    (".zip", many, "more than 20000 entries"),
    (".zip", cut_off, "can't be unpacked"),
    (".zip", linked, "is a link"),
    (".tar", lambda path: tarred(path, member(f"../../{NOTEBOOK}")), "leads out"),
    (".tar", lambda path: tarred(path, member("/etc/passwd")), "leads out"),
    (".tar", lambda path: tarred(path, member(NOTEBOOK, tarfile.SYMTYPE, link="/etc/shadow")),
     "is a link or a device"),
    (".tar", lambda path: tarred(path, member(NOTEBOOK, tarfile.LNKTYPE, link="x")),
     "is a link or a device"),
    (".tar", lambda path: tarred(path, member("null", tarfile.CHRTYPE)), "is a link or a device"),
    (".tar", lambda path: tarred(path, member("pipe", tarfile.FIFOTYPE)), "is a link or a device"),
    (".tar.gz", lambda path: tarred(path, member("zeros", size=handed_in.LARGEST_OF_ALL),
                                    mode="w:gz"), "more than 128 MB when unpacked"),
    (".tar", no_archive, "can't be unpacked"),
    (".zip", lambda path: zipped(path, letter="Dear professor"), "no notebook"),
]  # fmt: skip


@pytest.mark.parametrize(("ending", "make", "words"), HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_archive_is_refused_with_one_line(
    tmp_path: Path, ending: str, make: Callable[[Path], object], words: str
) -> None:
    make(tmp_path / f"in/eve{ending}")
    submission(tmp_path / "in/ann")
    ann, eve = collect.collect(tmp_path / "in", tmp_path / "all")
    assert (ann.state, eve.state) == ("collected", "refused")
    assert words in eve.why
    assert "\n" not in eve.why
    assert sorted(os.listdir(tmp_path / "all")) == ["ann", "manifest.json"]
    assert sorted(os.listdir(tmp_path)) == ["all", "in"]


def test_links_in_a_home_folder_lead_nowhere(tmp_path: Path) -> None:
    secret = tmp_path / "secret.ipynb"
    secret.write_text("of another")
    for name in ("eve0", "eve1"):
        (tmp_path / "in" / name).mkdir(parents=True)
    (tmp_path / "in/eve0" / NOTEBOOK).symlink_to(secret)
    (tmp_path / "in/eve1" / NOTEBOOK).hardlink_to(secret)
    away = tmp_path / "in/folder"
    away.mkdir()
    (away / "notebooks").symlink_to(submission(tmp_path / "others"))
    os.mkfifo(submission(tmp_path / "in/pipe") / "progress.json")
    (tmp_path / "in/student").symlink_to(tmp_path / "others")
    taken = {one.student: one.why for one in collect.collect(tmp_path / "in", tmp_path / "all")}
    assert sorted(taken) == ["eve0", "eve1", "folder", "pipe"]
    assert "is a link" in taken["eve0"]
    assert "hard link" in taken["eve1"]
    assert "no notebook" in taken["folder"]
    assert "not a regular file" in taken["pipe"]


@pytest.mark.parametrize("name", ["a b", "-rf", "@x", "x" * 65, "a\nb", "$(id)", "a,b"])
def test_a_name_is_one_word(tmp_path: Path, name: str) -> None:
    submission(tmp_path / "in" / name)
    assert "the name is not one word" in one(tmp_path / "in", tmp_path / "all").why


def test_names_of_any_script_are_names(tmp_path: Path) -> None:
    submission(tmp_path / "in/김민수")
    submission(tmp_path / "in/Ångström")
    assert {one.state for one in collect.collect(tmp_path / "in", tmp_path / "all")} == {
        "collected"
    }


def test_two_names_do_not_become_one(tmp_path: Path) -> None:
    submission(tmp_path / "in/ann")
    submission(tmp_path / "in/Ann")
    first, second = collect.collect(tmp_path / "in", tmp_path / "all")
    assert (first.student, first.state) == ("Ann", "collected")
    assert second.why == "the name differs from Ann in capitals alone"


def test_nothing_is_overwritten_silently(tmp_path: Path) -> None:
    folder = submission(tmp_path / "in/ann", "first")
    kept = tmp_path / f"all/ann/notebooks/{NOTEBOOK}"
    assert one(tmp_path / "in", tmp_path / "all").state == "collected"
    assert one(tmp_path / "in", tmp_path / "all").state == "unchanged"
    (folder / NOTEBOOK).write_text("second")
    taken = one(tmp_path / "in", tmp_path / "all")
    assert (taken.state, kept.read_text()) == ("refused", "first")
    assert "--replace" in taken.why
    assert one(tmp_path / "in", tmp_path / "all", replace=True).state == "replaced"
    assert kept.read_text() == "second"


def test_late_is_what_was_changed_after_the_time(tmp_path: Path) -> None:
    for name, time in (("ann", 1_700_000_000), ("ben", 1_700_000_010)):
        folder = submission(tmp_path / "in" / name)
        os.utime(folder / NOTEBOOK, (time, time))
    taken = collect.collect(tmp_path / "in", tmp_path / "all", until="2023-11-14T22:13:25+00:00")
    assert [(one.student, one.late) for one in taken] == [("ann", False), ("ben", True)]
    students = json.loads((tmp_path / "all/manifest.json").read_text())["students"]
    assert students["ben"]["time"] == "2023-11-14T22:13:30+00:00"
    assert (students["ann"]["late"], students["ben"]["late"]) == (False, True)


@pytest.mark.parametrize(
    ("layout", "place"),
    [
        ("lab-{student}/_data", "lab-ann/_data"),
        ("{student}_*_file", "ann_4711_file"),
        ("*/{student}", "group1/ann"),
        ("{student}/work", "ann/work"),
    ],
)
def test_a_layout_says_where_homes_are(tmp_path: Path, layout: str, place: str) -> None:
    submission(tmp_path / "in" / place)
    (tmp_path / "in/something-else").mkdir()
    taken = collect.collect(tmp_path / "in", tmp_path / "all", layout)
    assert [one.student for one in taken if one.state == "collected"] == ["ann"]


@pytest.mark.parametrize(
    "layout", ["", "work", "{student}/{student}", "../{student}", "/{student}"]
)
def test_a_layout_that_is_none(tmp_path: Path, layout: str) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(UsageError, match="--layout"):
        collect.collect(tmp_path / "in", tmp_path / "all", layout)


def test_bad_words(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="not a folder"):
        collect.collect(tmp_path / "none", tmp_path / "all")
    with pytest.raises(UsageError, match="--until"):
        collect.collect(tmp_path, tmp_path / "all", until="tomorrow")
    with pytest.raises(NotFoundError, match="collect first"):
        collect.load(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(SpecError, match="not a manifest"):
        collect.load(tmp_path)
