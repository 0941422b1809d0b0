"""Base root file systems from the host: the ELF reader, the closure, the plan, the build."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess
from pathlib import Path

import pytest

from labcontainer import errors
from labcontainer.image import closure, elf, entries, hostbase, roots

PROGRAMS = [
    path
    for name in ("ls", "bash", "ps", "mount", "ip", "tar", "python3", "git", "perl", "podman")
    if (path := shutil.which(name, path=":".join(closure.PATH)))
]


def by_the_loader(program: str) -> set[str]:
    """The oracle: the libraries that the loader itself lists for one of the host's programs."""
    answer = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    paths = set()
    for line in answer.stdout.splitlines():
        name, _, where = line.strip().partition(" => ")
        path = (where or name).split(" (")[0]
        if path.startswith("/"):
            paths.add(os.path.realpath(path))
    return paths


@pytest.mark.parametrize("program", PROGRAMS)
def test_closure_is_what_the_loader_lists(program: str) -> None:
    found = {os.path.realpath(need.path) for need in closure.Closure().of(program)}
    assert found == by_the_loader(program)


def test_reader_agrees_with_readelf() -> None:
    readelf = shutil.which("readelf")
    if readelf is None:
        pytest.skip("readelf (package binutils) is not installed")
    for path in PROGRAMS:
        told = subprocess.run([readelf, "-dW", path], capture_output=True, text=True, check=True)
        needed = [line.split("[")[1].rstrip("]") for line in told.stdout.splitlines()
                  if "(NEEDED)" in line]  # fmt: skip
        read = elf.read(path)
        assert read is not None
        assert list(read.needed) == needed


@pytest.mark.parametrize("keep", [5, 16, 40, 63, 64, 100, 1000, 4096, 20000])
def test_torn_elf_is_one_clear_line(tmp_path: Path, keep: int) -> None:
    torn = tmp_path / "torn"
    torn.write_bytes(Path("/bin/ls").read_bytes()[:keep])
    with pytest.raises(errors.LabError, match=r"^\S+torn: torn ELF file: [^\n]+$"):
        elf.read(str(torn))


def test_every_byte_of_the_headers_may_be_wrong(tmp_path: Path) -> None:
    """A hostile file is read, or refused with a LabError; never an IndexError, never a hang."""
    told = []
    whole = Path("/bin/ls").read_bytes()
    start = struct.unpack_from("<Q", whole, 32)[0]
    count = struct.unpack_from("<H", whole, 56)[0]
    for offset in [*range(4, 64), *range(start, start + 56 * count, 3)]:
        file = tmp_path / "hostile"
        file.write_bytes(whole[:offset] + b"\xff" + whole[offset + 1 :])
        try:
            elf.read(str(file))
        except errors.LabError as refusal:
            told.append(str(refusal))
    assert len(told) > 20
    assert not [line for line in told if "\n" in line]


def made_elf(path: Path, *, needed: str = "", runpath: str = "", rpath: str = "", machine: int = 62,
             soname: str = "") -> str:  # fmt: skip
    """Write the smallest ELF file with a dynamic section: headers, PT_LOAD, PT_DYNAMIC, strings."""
    strings = b"\0"
    tags = []
    named = [(elf.DT_NEEDED, word) for word in needed.split()]
    named += [(elf.DT_RUNPATH, runpath), (elf.DT_RPATH, rpath), (elf.DT_SONAME, soname)]
    for tag, text in named:
        if text:
            tags.append((tag, len(strings)))
            strings += text.encode() + b"\0"
    at = 64 + 2 * 56
    size = (len(tags) + 2) * 16
    tags += [(elf.DT_STRTAB, at + size), (elf.DT_NULL, 0)]
    body = b"".join(struct.pack("<qQ", *tag) for tag in tags) + strings
    end = at + len(body)
    header = elf.MAGIC + bytes([2, 1, 1]) + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", elf.PT_LOAD, 5, 0, 0, 0, end, end, 4096)
    dynamic = struct.pack("<IIQQQQQQ", elf.PT_DYNAMIC, 4, at, at, at, size, size, 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + load + dynamic + body)
    path.chmod(0o755)
    return str(path)


def test_runpath_with_origin_goes_before_the_cache(tmp_path: Path) -> None:
    program = made_elf(tmp_path / "bin/program", needed="libx.so", runpath="$ORIGIN/../lib")
    near = made_elf(tmp_path / "lib/libx.so")
    far = made_elf(tmp_path / "far/libx.so")
    (need,) = closure.Closure({"libx.so": [far]}).of(program)
    assert os.path.realpath(need.path) == near
    assert need.why == f"needed by {program} (DT_NEEDED libx.so, RUNPATH)"


def test_rpath_of_the_loading_object_counts_unless_it_has_a_runpath(tmp_path: Path) -> None:
    made_elf(tmp_path / "lib/liba.so", needed="libb.so")
    made_elf(tmp_path / "lib/libb.so")
    inherited = made_elf(tmp_path / "one", needed="liba.so", rpath=f"{tmp_path}/lib")
    assert [os.path.basename(n.path) for n in closure.Closure({}).of(inherited)] == [
        "liba.so",
        "libb.so",
    ]
    own = made_elf(tmp_path / "two", needed="liba.so", runpath=f"{tmp_path}/lib")
    with pytest.raises(errors.NotFoundError, match=r"libb\.so, which .*liba\.so needs"):
        list(closure.Closure({}).of(own))


def test_library_for_another_machine_is_passed_over(tmp_path: Path) -> None:
    other = made_elf(tmp_path / "other/libx.so", machine=183)
    fitting = made_elf(tmp_path / "fitting/libx.so")
    program = made_elf(tmp_path / "program", needed="libx.so")
    (need,) = closure.Closure({"libx.so": [other, fitting]}).of(program)
    assert need.path == fitting


def test_libraries_that_need_each_other_end(tmp_path: Path) -> None:
    made_elf(tmp_path / "liba.so", needed="libb.so")
    made_elf(tmp_path / "libb.so", needed="liba.so")
    program = made_elf(tmp_path / "program", needed="liba.so", rpath=str(tmp_path))
    assert len(list(closure.Closure({}).of(program))) == 2


def test_script_brings_its_interpreter_and_env_brings_the_program(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/usr/bin/env -S bash -e\n")
    script.chmod(0o755)
    found = [need.path for need in closure.Closure().of(str(script))]
    assert "/usr/bin/env" in found
    assert any(path.endswith("/bash") for path in found)


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (b"#!/no/such/shell\n", "does not exist"),
        (b"#!sh\n", "no absolute path"),
        (b"just text\n", "neither an ELF file nor a script"),
    ],
)
def test_program_that_cannot_start_is_refused(tmp_path: Path, first: bytes, words: str) -> None:
    script = tmp_path / "script"
    script.write_bytes(first)
    script.chmod(0o755)
    with pytest.raises(errors.LabError, match=words):
        list(closure.Closure().of(str(script)))


def test_scripts_that_interpret_each_other_end(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text(f"#!{two}\n")
    two.write_text(f"#!{one}\n")
    one.chmod(0o755)
    two.chmod(0o755)
    with pytest.raises(errors.LabError, match="more than 4 deep"):
        list(closure.Closure().of(str(one)))


def test_cache_that_was_written_is_read_by_ldconfig(tmp_path: Path) -> None:
    ldconfig = shutil.which("ldconfig", path="/usr/sbin:/sbin")
    found = closure.Closure()
    list(found.of("/bin/bash"))
    cache = tmp_path / "ld.so.cache"
    cache.write_bytes(elf.write_cache(found.libraries))
    ours = elf.read_cache(str(cache))
    assert set(found.libraries) == {path for paths in ours.values() for path in paths}
    if ldconfig:
        told = subprocess.run([ldconfig, "-p", "-C", cache], capture_output=True, text=True,
                              check=True).stdout  # fmt: skip
        assert [line.split()[0] for line in told.splitlines()[1:] if "=>" in line] == list(ours)


def test_cache_is_in_the_loaders_order() -> None:
    names = ["libz.so.1", "libz.so.10", "libz.so.9", "liba.so"]
    libraries = {f"/lib/{name}": elf.Elf(name, 64, 62) for name in names}
    data = elf.write_cache(libraries)
    offsets = [data.index(f"{name}\0".encode()) for name in sorted(names)]
    rows = [struct.unpack_from("<iIIIQ", data, 48 + 24 * row)[1] for row in range(4)]
    shown = [data[at : data.index(b"\0", at)].decode() for at in rows]
    assert shown == ["libz.so.10", "libz.so.9", "libz.so.1", "liba.so"]
    assert len(set(offsets)) == 4


@pytest.mark.parametrize(
    "data", [b"", b"glibc-ld.so.cache1.1", b"glibc-ld.so.cache1.1" + b"\xff" * 99]
)
def test_torn_cache_counts_as_none(tmp_path: Path, data: bytes) -> None:
    cache = tmp_path / "cache"
    cache.write_bytes(data)
    assert elf.read_cache(str(cache)) == {}


# --- plan and build ---------------------------------------------------------------------------


def test_plan_says_why_each_file_is_there() -> None:
    lines = [str(entry) for entry in hostbase.plan(hostbase.recipe("mine", ("ls",)))]
    assert any("/ls  # asked for" in line for line in lines)
    assert any("# loader of " in line for line in lines)
    assert any("DT_NEEDED libc.so.6" in line for line in lines)
    assert all("\n" not in line for line in lines)


def test_plan_has_parents_first_and_keeps_symbolic_links() -> None:
    made = hostbase.plan(hostbase.recipe("mine", ("sh",)))
    seen = {""}
    for entry in made:
        assert os.path.dirname(entry.path).rstrip("/") in seen
        seen.add(entry.path)
    links = {entry.path: entry.target for entry in made if entry.kind == "link"}
    for path, target in links.items():
        if path != "/etc/mtab":
            assert os.readlink(path) == target
    if os.path.islink("/bin"):
        assert links["/bin"] == "usr/bin"


def tree(root: Path) -> dict[str, tuple[object, ...]]:
    """All of a tree that must be the same in two builds."""
    found: dict[str, tuple[object, ...]] = {}
    for directory, names, files in os.walk(root):
        for name in [*names, *files]:
            path = Path(directory, name)
            status = path.lstat()
            content = os.readlink(path) if path.is_symlink() else (
                path.read_bytes() if path.is_file() else "")  # fmt: skip
            found[str(path.relative_to(root))] = (status.st_mode, status.st_mtime_ns, content)
    return found


def test_two_builds_are_the_same(tmp_path: Path) -> None:
    recipe = hostbase.recipe("mine", ("ls", "bash"))
    for name in ("one", "two"):
        hostbase.build(recipe, str(tmp_path / name))
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_host_files_are_never_linked_into(tmp_path: Path) -> None:
    hostbase.build(hostbase.recipe("mine", ("ls",)), str(tmp_path / "root"))
    copies = [path for path in (tmp_path / "root").rglob("ls") if path.is_file()]
    assert copies
    assert all(path.stat().st_nlink == 1 for path in copies)


def test_setuid_is_left_behind(tmp_path: Path) -> None:
    program = tmp_path / "program"
    shutil.copy("/bin/true", program)
    program.chmod(0o6755)
    hostbase.build(hostbase.recipe("mine", (str(program),)), str(tmp_path / "root"))
    copy = Path(f"{tmp_path}/root{os.path.realpath(program)}")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o755


def test_report_counts_what_is_there(tmp_path: Path) -> None:
    report = hostbase.build(hostbase.recipe("host"), str(tmp_path / "root"))
    files = [path for path in (tmp_path / "root").rglob("*") if not path.is_symlink()]
    sizes = [path.stat().st_size for path in files if path.is_file()]
    assert (report.files, report.size) == (len(sizes), sum(sizes))
    assert "sh" not in report.missing


def test_os_release_names_the_root(tmp_path: Path) -> None:
    hostbase.build(hostbase.recipe("mine", ("true",)), str(tmp_path / "root"))
    assert "VARIANT_ID=mine\n" in (tmp_path / "root/etc/os-release").read_text()


@pytest.mark.parametrize("name", ["no-such-program", "/no/such/program", "/etc", "/dev/null"])
def test_missing_program_leaves_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(errors.LabError, match=name):
        hostbase.build(hostbase.recipe("mine", ("ls", name)), str(tmp_path / "root"))
    assert list(tmp_path.iterdir()) == []


def test_failure_in_the_middle_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 0

    def full(*_args: object) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(entries, "_copy", full)
    with pytest.raises(OSError, match="No space"):
        hostbase.build(hostbase.recipe("mine", ("ls",)), str(tmp_path / "root"))
    assert list(tmp_path.iterdir()) == []


def test_leftover_of_a_killed_build_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".root.new-4194304"  # above any pid there can be
    left.mkdir()
    hostbase.build(hostbase.recipe("mine", ("true",)), str(tmp_path / "root"))
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_existing_root_is_kept_unless_replaced(tmp_path: Path) -> None:
    target = tmp_path / "root"
    hostbase.build(hostbase.recipe("mine", ("true",)), str(target))
    with pytest.raises(errors.ExistsError, match="is there already"):
        hostbase.build(hostbase.recipe("mine", ("ls",)), str(target))
    hostbase.build(hostbase.recipe("mine", ("ls",)), str(target), replace=True)
    assert list(target.rglob("ls"))
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_others_program_is_not_asked(tmp_path: Path) -> None:
    program = tmp_path / "busybox"
    program.write_text("#!/bin/sh\ntouch ran\n")
    program.chmod(0o777)
    with pytest.raises(errors.LabError, match="others may change"):
        hostbase._applets(str(program))


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["/srv/root", "./root", "../root", ".", ".."])
def test_what_is_a_path(word: str) -> None:
    assert roots.is_path(word)


@pytest.mark.parametrize("word", ["root", "team/root", "localhost:5000/root", "root:1"])
def test_what_is_a_name(word: str) -> None:
    assert not roots.is_path(word)


def test_a_directory_is_found_behind_its_links(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert roots.find(f"{tmp_path}/link/") == str(tmp_path)
    with pytest.raises(errors.NotFoundError, match="does not exist"):
        roots.find("./nothing")


def test_home_follows_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABCONTAINER_HOME", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert roots.home() == "/var/lib/labcontainer"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/learner")
    assert roots.home() == "/home/learner/.local/share/labcontainer"
