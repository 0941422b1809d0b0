"""Images as root and as an ordinary user: layers over layers, owners, what goes, full disks."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labcontainer.image import documents, tarformat
from labcontainer.image.tarformat import Entry
from tests.system import lab_home
from tests.system.lab_home import LabHome
from tests.unit.archives import archive

pytestmark = pytest.mark.requires("root", "busybox")

USERS = [
    pytest.param(0, id="root"),
    pytest.param(1000, id="uid1000", marks=pytest.mark.requires("userns", "overlay-userns")),
]


@pytest.fixture(params=USERS)
def lab(request: pytest.FixtureRequest) -> Iterator[LabHome]:
    yield from lab_home.home(request.param)


def out(lab: LabHome, *words: str, **options: Any) -> str:
    done = lab.call(*words, **options)
    assert done.returncode == 0, done.stderr
    return str(done.stdout).strip()


def image(lab: LabHome, base: str, name: str, *layers: bytes, **config: Any) -> str:
    """An image of the layers of `base` and more, by `docker save`'s archive; its id."""
    path = f"{lab.home}/base.tar"
    out(lab, "save", "-o", path, base)
    files: dict[str, bytes] = {}
    import tarfile

    with tarfile.open(path) as file:
        for member in file:
            content = file.extractfile(member)
            files[member.name] = content.read() if content else b""
    (entry,) = json.loads(files["manifest.json"])
    described = json.loads(files[entry["Config"]])
    for layer in layers:
        digest = documents.digest_of(layer)
        files[digest] = layer
        entry["Layers"].append(digest)
        described["rootfs"]["diff_ids"].append(digest)
        described["history"].append({"created_by": "a test"})
    described["config"] |= config
    entry |= {"Config": "config.json", "RepoTags": [name]}
    files |= {"config.json": json.dumps(described).encode(),
              "manifest.json": json.dumps([entry]).encode()}  # fmt: skip
    del files["index.json"]
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as file:
        for key, data in files.items():
            info = tarfile.TarInfo(key)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    done = subprocess.run([*lab.words("load")], input=made.getvalue(), capture_output=True,
                          env=lab.env, cwd=lab.home, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out(lab, "images", "-q", "--no-trunc", name)


ONE = archive(
    Entry("srv/", tarformat.DIRECTORY, 0o755), (Entry("srv/one", uid=7, gid=9), b"one\n"),
    (Entry("srv/both"), b"first\n"), Entry("srv/dir/", tarformat.DIRECTORY, 0o755),
    (Entry("srv/dir/old"), b"old\n"),
)  # fmt: skip
TWO = archive(
    (Entry("srv/.wh.one"), b""), (Entry("srv/both"), b"second\n"), Entry("srv/dir/.wh..wh..opq"),
    (Entry("srv/dir/new", mode=0o4755, uid=7), b"new\n"),
)  # fmt: skip


def run(lab: LabHome, *words: str) -> str:
    return out(lab, "run", "--rm", "--network", "none", *words)


def has_ids(lab: LabHome) -> bool:
    """Whether containers of this user have more ids than one."""
    return run(lab, "busybox", "sh", "-c", "wc -l < /proc/self/uid_map") != "1" or lab.uid == 0


def test_layers_lie_over_one_another_and_keep_their_owners(lab: LabHome) -> None:
    """With one id all files are the user's, who is root inside."""
    image(lab, "busybox", "one", ONE)
    image(lab, "one", "two", TWO)
    owner = 7 if has_ids(lab) else 0
    shown = run(lab, "one", "stat", "-c", "%u %g", "/srv/one")
    assert shown == ("7 9" if has_ids(lab) else "0 0")
    assert run(lab, "two", "sh", "-c", "cd /srv; ls; cat both; ls dir") == "both\ndir\nsecond\nnew"
    assert run(lab, "two", "stat", "-c", "%u %a", "/srv/dir/new") == f"{owner} 4755"
    assert run(lab, "two", "sh", "-c", "mv /srv/both /srv/x && rm -r /srv/dir && ls /srv") == "x"
    assert run(lab, "two", "ls", "/srv") == "both\ndir"


def test_what_the_image_says_is_done(lab: LabHome) -> None:
    image(
        lab, "busybox", "app", ONE, Entrypoint=["sh", "-c"], Cmd=["id -u; pwd; echo $GREETING"],
        User="7" if has_ids(lab) else "0", WorkingDir="/srv/dir", Volumes={"/srv": {}},
        Env=["GREETING=hello", "PATH=/bin:/usr/bin"],
    )  # fmt: skip
    who = "7" if has_ids(lab) else "0"
    assert run(lab, "app") == f"{who}\n/srv/dir\nhello"
    assert run(lab, "-e", "GREETING=own", "-u", "0", "-w", "/", "app") == "0\n/\nown"
    assert run(lab, "app", "cat old") == "old"
    assert run(lab, "--entrypoint", "echo", "app", "words") == "words"


def test_by_its_id_and_a_part_of_it(lab: LabHome) -> None:
    identity = out(lab, "images", "-q", "--no-trunc", "busybox")
    assert run(lab, identity, "echo", "1") == run(lab, identity[7:15], "echo", "1") == "1"


def test_nothing_is_left_of_an_image_that_is_removed(lab: LabHome) -> None:
    image(lab, "busybox", "one", ONE)
    run(lab, "one", "true")
    out(lab, "rmi", "one", "busybox")
    assert os.listdir(f"{lab.home}/images/layers") == []
    assert os.listdir(f"{lab.home}/images/blobs/sha256") == []
    assert out(lab, "images", "-q") == ""


def test_an_image_in_use_keeps_its_layers(lab: LabHome) -> None:
    program = lab.start("--network", "none", "busybox", "sh", "-c", "echo ready; exec sleep 1000")
    refused = lab.call("rmi", "busybox")
    assert refused.returncode == 1
    assert "is using it" in refused.stderr
    out(lab, "rmi", "--force", "busybox")
    out(lab, "image", "prune", "-f")
    assert os.listdir(f"{lab.home}/images/layers") != []
    program.kill()
    program.communicate()
    assert lab_home.eventually(lambda: lab.running() == [])
    out(lab, "image", "prune", "-f")
    assert os.listdir(f"{lab.home}/images/layers") == []


def test_fifty_layers(lab: LabHome) -> None:
    """Their names are longer than the page that mount(2) takes."""
    layers = [archive((Entry(f"layers/{number}"), b"x")) for number in range(50)]
    image(lab, "busybox", "many", *layers)
    assert run(lab, "many", "sh", "-c", "ls /layers | wc -l") == "50"


def test_a_hostile_layer_is_refused_whole(lab: LabHome) -> None:
    image(lab, "busybox", "evil", archive((Entry("../../escaped"), b"x")))
    done = lab.call("run", "--network", "none", "evil", "true")
    assert done.returncode == 125
    assert done.stderr.count("\n") == 1
    assert "'..' in a name is refused" in done.stderr
    assert [name for name in os.listdir(f"{lab.home}/images/layers") if "tmp" in name] == []


def test_two_at_once_unpack_one_layer(lab: LabHome) -> None:
    image(lab, "busybox", "one", ONE)
    words = lab.words("run", "--network", "none", "one", "cat", "/srv/both")
    started = [subprocess.Popen(words, env=lab.env, stdout=subprocess.PIPE, cwd=lab.home)
               for _ in range(4)]  # fmt: skip
    assert [program.communicate(timeout=60)[0] for program in started] == [b"first\n"] * 4


FULL = """
import os, sys
sys.path.insert(0, sys.argv[1])
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import CLONE, MS
syscalls.unshare(CLONE.NEWNS)
syscalls.mount(None, "/", None, MS.REC | MS.PRIVATE)
syscalls.mount("tmpfs", sys.argv[2], "tmpfs", 0, "size=3m")
from labcontainer.image.store import Store
from labcontainer.image.snapshots import Snapshots
from tests.unit import images
lab = Store(sys.argv[2] + "/images")
images.image(lab, {"a": b"small"}, names=("small",))
problems = []
for kind, files in (("none", {"f": os.urandom(4 << 20)}), ("gzip", {"zeros": bytes(8 << 20)})):
    try:
        made = images.image(lab, files, names=("big",), kind=kind)
        with lab.lease():
            Snapshots(lab).unpack(made)
    except OSError as error:
        problems.append(error.errno)
print(problems, [name for name in os.listdir(lab.path + "/ingest")],
      [name for name in os.listdir(lab.path + "/layers")], lab.image("small").tags)
with lab.lease():
    print(os.listdir(Snapshots(lab).unpack(lab.image("small"))[0]))
"""


def test_a_full_disk_costs_nothing_but_the_image(tmp_path: Path) -> None:
    top = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([sys.executable, "-c", FULL, top, str(tmp_path)], capture_output=True,
                          text=True, check=False, cwd=top)  # fmt: skip
    assert done.stdout.splitlines() == ["[28, 28] [] [] ('small:latest',)", "['a']"], done.stderr
