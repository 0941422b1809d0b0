"""The same Dockerfiles, built by dockerd's classic builder and by buildah: same files and words."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labcontainer.build.tree import Tree
from labcontainer.image import archive
from labcontainer.image.snapshots import Snapshots
from labcontainer.image.store import Image, Store
from tests.engines.world import World
from tests.system import lab_home
from tests.system.build_home import BuildHome, Files, listing
from tests.system.lab_home import LabHome

pytestmark = pytest.mark.requires("root", "dockerd", "docker", "buildah", "busybox", "overlay")

BASE = "localhost/base:1"
Oracle = Callable[[Path, str, Path], None]  # context, words of --build-arg, archive to write


class Oracles:
    """dockerd and buildah, with the base image; each writes what it has built as an archive."""

    def __init__(self, world: World, base: Path) -> None:
        self.world = world
        self.docker = ("docker", f"--host=unix://{world.place}/docker.sock")
        (world.place / "config").write_text("{}")
        self.daemon = world.start(
            "dockerd", f"--host=unix://{world.place}/docker.sock", f"--pidfile={world.place}/pid",
            f"--data-root={world.place}/data", f"--exec-root={world.place}/exec",
            f"--cgroup-parent=/{world.cgroup}", "--bip=10.213.8.1/24",
            f"--config-file={world.place}/config", log=world.place / "log",
        )  # fmt: skip
        self.buildah = ("buildah", f"--root={world.place}/b", f"--runroot={world.place}/r",
                        "--storage-driver=vfs")  # fmt: skip
        asks = lambda: world.call(*self.docker, "version").returncode == 0  # noqa: E731
        world.answers(self.daemon, world.place / "log", asks)
        world.run(*self.docker, "load", f"--input={base}")
        world.run(*self.buildah, "pull", f"docker-archive:{base}")

    def by_dockerd(self, context: Path, flags: list[str], target: Path) -> None:
        """The classic builder: the plain command without buildx."""
        self.world.run(
            "env", "DOCKER_BUILDKIT=0", *self.docker, "build", "--network=none", "--tag=built",
            *flags, context,
        )  # fmt: skip
        self.world.run(*self.docker, "save", f"--output={target}", "built")

    def by_buildah(self, context: Path, flags: list[str], target: Path) -> None:
        """buildah without a container of its own: a chroot."""
        self.world.run(
            *self.buildah, "bud", "--isolation=chroot", "--network=host", "--pull-never",
            "--format=docker", "--tag=built", *flags, context,
        )  # fmt: skip
        self.world.run(*self.buildah, "push", "built", f"docker-archive:{target}:built:1")


@pytest.fixture(scope="module")
def lab() -> Iterator[LabHome]:
    yield from lab_home.home()


@pytest.fixture(scope="module")
def oracles(lab: LabHome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracles]:
    base = tmp_path_factory.mktemp("base") / "base.tar"
    assert lab.call("tag", "busybox", BASE).returncode == 0
    assert lab.call("save", "-o", str(base), BASE).returncode == 0
    world = World(Path(tempfile.mkdtemp(prefix="lc-build-")))
    made: Oracles | None = None
    try:
        made = Oracles(world, base)
        yield made
    finally:
        world.close([made.daemon] if made else [])


FILES: Files = {
    "a.txt": "a", "b.md": "b", "sub/one": "1", "sub/deep/two": "2", "sub/link": "-> one",
    "run.sh": "#!/bin/sh\necho ran > /ran\n", ".dockerignore": "*.md\n!sub\nsub/deep/no*\n",
    "sub/deep/not": "", "link.txt": "-> a.txt", "etc/passwd": "root:x:0:0::/:\nme:x:7:8::/:\n",
}  # fmt: skip

DOCKERFILES = {
    "copies": "COPY . /all/\nCOPY a.txt /new/\nCOPY sub /s\nCOPY sub/* /t/\nCOPY link.txt /\n"
              "COPY --chown=3:4 sub /v\nCOPY a.txt /bin/in\nWORKDIR /w\nCOPY a.txt sub/one ./",
    "names": "COPY etc /etc\nCOPY --chown=me:8 a.txt /mine\nCOPY --chown=me:8 sub /ours",
    "runs": "COPY run.sh /\nRUN sh /run.sh && rm /etc/group && mkdir -p /d/e && chmod 700 /d\n"
            "RUN rm -r /d && mkdir /d && touch /d/new && chown 5:6 /d/new\nWORKDIR /x\n"
            "RUN [\"/bin/sh\", \"-c\", \"echo $0 > y; ln y z\"]",
    "words": "ENV A=1 B='two words' C=\"$A x\"\nENV D ${A}2 x\nLABEL a=$B \"c d\"=e\n"
             "EXPOSE 80 53/udp\n"
             "VOLUME /v /w\nVOLUME [\"/x\"]\nSTOPSIGNAL SIGINT\nUSER me\nWORKDIR /p/$A\nWORKDIR q\n"
             "SHELL [\"/bin/sh\", \"-ec\"]\nENTRYPOINT echo $A\nCMD [\"x\", \"$A\"]\n"
             "HEALTHCHECK --interval=5s --retries=2 CMD true\nONBUILD COPY . /o\n",
    "arguments": "ARG one=1\nARG two=${one}2\nARG three\nENV four=$two$three\nARG four=no\n"
                 "RUN echo $one $two $three $four > /args\nLABEL l=$four",
    "modifiers": "ENV a=abc e=\nENV b=${a:-x}${n:-y} c=${a:+z}${e:+w} d=\\$a "
                 "f='$a' g=\"\\\"$a\\\"\"",
    "user": "USER 7:8\nWORKDIR /x\nCOPY a.txt .\nRUN id -u > /tmp/y",
    "entry": "CMD [\"old\"]\nENTRYPOINT [\"new\"]",
    "stages": "RUN echo made > /made && chown 9:9 /made\nFROM " + BASE + "\n"
              "COPY --from=0 /made /etc/passwd /from/\nCOPY --from=first /usr/bin /b",
}  # fmt: skip
# Where buildah has its own mind: WORKDIR belongs to the USER; SHELL does not count for ENTRYPOINT.
PAIRS = [(kind, "dockerd") for kind in DOCKERFILES]
PAIRS += [(kind, "buildah") for kind in DOCKERFILES if kind not in ("user", "words")]
WORDS = ("Env Cmd Entrypoint ExposedPorts Volumes WorkingDir User Labels StopSignal Healthcheck "
         "OnBuild Shell").split()  # fmt: skip


def said(image: Image) -> dict[str, Any]:
    """The configuration, without what other builders add of themselves."""
    config = {word: image.config.config.get(word) or None for word in WORDS}
    labels = dict(config["Labels"] or {})
    labels.pop("io.buildah.version", None)
    return {**config, "Labels": labels}


def files(image: Image, store: Store) -> list[str]:
    """All files, but the places for mounts that other builders leave."""
    with store.lease():
        lines = listing(Tree(Snapshots(store).unpack(image)))
    return [line for line in lines if line.split(" ")[2] not in ("dev/", "proc/", "sys/")]


@pytest.mark.parametrize(("kind", "oracle"), PAIRS)
def test_same_files_and_same_words(
    oracles: Oracles, lab: LabHome, tmp_path: Path, kind: str, oracle: str
) -> None:
    context = tmp_path / "context"
    context.mkdir()
    home = BuildHome(lab, context)
    flags = ["--build-arg", "three=3"] if kind == "arguments" else []
    text = f"FROM {BASE} AS first\n{DOCKERFILES[kind]}"
    ours = home.build(text, "--network=none", *flags, files=FILES)
    target = tmp_path / "theirs.tar"
    build = oracles.by_dockerd if oracle == "dockerd" else oracles.by_buildah
    shutil.copytree(context, oracles.world.place / "context", symlinks=True, dirs_exist_ok=False)
    try:
        build(oracles.world.place / "context", flags, target)
    finally:
        shutil.rmtree(oracles.world.place / "context")
    store = Store(str(tmp_path / "store"))
    with target.open("rb") as file:
        theirs = archive.load(store, file)[0][1]
    assert said(ours) == said(theirs)
    assert files(ours, home.store) == files(theirs, store)
