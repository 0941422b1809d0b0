"""AppArmor and SELinux: refused where the kernel has none; written where the files are.

Few test machines have either, so the files of /proc/self/attr are played by files of the root file
system. What is in them in the end is what the kernel would have been asked for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from labcontainer.mounts import Mount
from labcontainer.rootfs import Rootfs
from labcontainer.runtime import labels
from tests.system.oci_home import ROOT, Bundle, OciHome

pytestmark = pytest.mark.requires("root", "mount", "cgroup-write")

CONTEXT = "system_u:system_r:container_t:s0:c1,c2"


@pytest.fixture
def home(tmp_path: Path, rootfs: Path) -> Iterator[OciHome]:
    made = OciHome(tmp_path, rootfs)
    yield made
    made.close()


def played(home: OciHome, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """The command on a machine that has both modules, with their files below /attr."""
    on = home.place / "enabled"
    on.write_text("Y\n")
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from labcontainer.runtime import labels\n"
        f"labels.APPARMOR = labels.SELINUX = {str(on)!r}; labels.ATTRIBUTES = '/attr'\n"
        "from labcontainer.runtime.oci import main; sys.exit(main(sys.argv[1:]))"
    )
    argv = [sys.executable, "-c", code, f"--root={home.place}/state", *map(str, words)]
    return subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
    )


def with_files(bundle: Bundle) -> Path:
    folder = bundle.rootfs / "attr"
    folder.mkdir()
    (folder / "exec").touch()
    return folder / "exec"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("apparmorProfile", "docker-default", "apparmor failed to apply profile"),
        ("selinuxLabel", CONTEXT, "selinux is disabled or not supported"),
    ],
)
def test_what_the_kernel_has_not_is_refused(
    home: OciHome, field: str, value: str, words: str
) -> None:
    if labels.apparmor_enabled() or labels.selinux_enabled():
        pytest.skip("this kernel has one of the two")
    bundle = home.bundle("touch", "/ran")
    bundle.process[field] = value
    done = home.run(bundle)
    assert done.returncode == 1 and words in done.stderr and field in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (bundle.rootfs / "ran").exists()


def test_a_mount_label_is_refused_too(home: OciHome) -> None:
    if labels.selinux_enabled():
        pytest.skip("this kernel has SELinux")
    bundle = home.bundle("touch", "/ran")
    bundle.linux["mountLabel"] = CONTEXT
    done = home.run(bundle)
    assert done.returncode == 1 and "linux.mountLabel: selinux label is specified" in done.stderr


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("apparmorProfile", "docker-default", "exec docker-default"),
        ("selinuxLabel", CONTEXT, CONTEXT),
    ],
)
def test_the_label_is_asked_for_by_the_first_process(
    home: OciHome, field: str, value: str, expected: str
) -> None:
    bundle = home.bundle("true")
    file = with_files(bundle)
    bundle.process[field] = value
    bundle.save()
    done = played(home, "run", "--bundle", bundle.path, bundle.id)
    assert done.returncode == 0, done.stderr
    assert file.read_text() == expected


def test_exec_asks_for_the_label_of_its_own_process(home: OciHome) -> None:
    bundle = home.bundle("sleep", "1000")
    file = with_files(bundle)
    home.start(bundle)
    process = bundle.path / "process.json"
    given = {"args": ["true"], "cwd": "/", "env": ["PATH=/bin"], "apparmorProfile": "mine"}
    process.write_text(json.dumps(given))
    done = played(home, "exec", "--process", process, bundle.id)
    assert done.returncode == 0, done.stderr
    assert file.read_text() == "exec mine"


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_a_label_that_is_not_taken_lets_nothing_run(home: OciHome, verb: str) -> None:
    bundle = home.bundle("sh", "-c", "touch /ran; sleep 1000")
    if verb == "exec":
        home.start(bundle)
    bundle.process["apparmorProfile"] = "docker-default"
    bundle.process["args"] = ["touch", "/labelled"]
    bundle.save()
    if verb == "run":
        done = played(home, "run", "--bundle", bundle.path, bundle.id)
    else:
        process = bundle.path / "process.json"
        process.write_text(json.dumps(bundle.process))
        done = played(home, "exec", "--process", process, bundle.id)
    assert done.returncode != 0 and "no such file or directory" in done.stderr
    assert not (bundle.rootfs / "labelled").exists()


def test_a_container_that_shows_another_proc_gets_no_label(home: OciHome) -> None:
    bundle = home.bundle("touch", "/ran")
    with_files(bundle)
    bundle.config["mounts"] = [one for one in bundle.config["mounts"] if one["type"] != "proc"]
    bundle.linux["maskedPaths"] = bundle.linux["readonlyPaths"] = []
    bundle.process["apparmorProfile"] = "docker-default"
    bundle.save()
    done = played(home, "run", "--bundle", bundle.path, bundle.id)
    assert done.returncode == 1 and "is not procfs" in done.stderr
    assert not (bundle.rootfs / "ran").exists()


def test_new_file_systems_get_the_mount_label(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(labels, "SELINUX", str(tmp_path))
    before = (
        Mount("/dev", "tmpfs", "tmpfs", data="mode=755"),
        Mount("/dev/shm", "tmpfs", "tmpfs"),
        Mount("/proc", "proc", "proc"),
        Mount("/data", "bind", str(tmp_path)),
    )
    after = labels.with_mount_label(Rootfs(os.fspath(tmp_path), mounts=before), CONTEXT).mounts
    context = f'context="{CONTEXT}"'
    assert [one.data for one in after] == [f"mode=755,{context}", context, "", ""]
