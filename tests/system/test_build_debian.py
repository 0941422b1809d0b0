"""A real Dockerfile: Debian by debootstrap, a package by apt, a C program, a second stage."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest

from labcontainer.image.snapshots import Snapshots
from tests.system import lab_home
from tests.system.build_home import BuildHome
from tests.system.lab_home import LabHome

pytestmark = [
    pytest.mark.requires("root", "mount", "overlay", "busybox", "debootstrap"),
    pytest.mark.timeout(900),
]

MIRROR = "deb.debian.org"
# The machine's clock may be years after the mirror's signature.
DOCKERFILE = """FROM localhost/debian:12 AS build
ENV DEBIAN_FRONTEND=noninteractive
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked <<EOF
set -e
apt-get -o Acquire::Check-Valid-Until=false -o Acquire::Check-Date=false update
apt-get install -y --no-install-recommends gcc libc6-dev
EOF
COPY hello.c /src/
RUN gcc -O2 -static -o /src/hello /src/hello.c && strip /src/hello

FROM busybox
COPY --from=build /src/hello /bin/hello
ENTRYPOINT ["/bin/hello"]
"""
SOURCE = '#include <stdio.h>\nint main(void) { puts("compiled in a stage"); return 0; }\n'


@pytest.fixture(scope="module")
def lab() -> Iterator[LabHome]:
    try:
        socket.create_connection((MIRROR, 80), 10).close()
    except OSError as error:
        pytest.skip(f"network: {MIRROR} cannot be reached: {error}")
    yield from lab_home.home()


@pytest.fixture(scope="module")
def home(lab: LabHome, tmp_path_factory: pytest.TempPathFactory) -> BuildHome:
    """A home with a minimal Debian as base image."""
    place = tmp_path_factory.mktemp("debian")
    words = ["debootstrap", "--variant=minbase", "bookworm", "root", f"http://{MIRROR}/debian"]
    done = subprocess.run(words, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    tar = subprocess.Popen(["tar", "-C", place / "root", "-c", "."], stdout=subprocess.PIPE)
    words = lab.words("import", "-", "localhost/debian:12")
    done = subprocess.run(words, stdin=tar.stdout, env=lab.env, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert tar.stdout is not None
    tar.stdout.close()
    assert (tar.wait(), done.returncode) == (0, 0), done.stderr
    shutil.rmtree(place / "root")
    (place / "context").mkdir()
    return BuildHome(lab, place / "context")


def build(home: BuildHome, *flags: str) -> str:
    """The id of the image; what apt says takes its time."""
    home.write({"Dockerfile": DOCKERFILE, "hello.c": SOURCE})
    words = home.lab.words("build", *flags, str(home.context))
    done = subprocess.run(words, env=home.lab.env, capture_output=True, text=True, check=False,
                          timeout=600)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    home.said = done.stderr
    return done.stdout.strip()


def test_package_and_second_stage(home: BuildHome) -> None:
    small = home.store.image(build(home, "-t", "hello"))
    large = home.store.image(build(home, "--target", "build"))
    assert (home.said.count(" CACHED\n"), home.said.count(" DONE ")) == (5, 0)
    sizes = Snapshots(home.store)
    assert sizes.size(large) > 300e6
    assert sizes.size(small) < 12e6
    tree = home.tree(large)
    assert tree.listdir("var/cache/apt") == ["archives"]  # the cache's own files stay in the cache
    assert tree.find("usr/bin/gcc")
    done = home.lab.run("hello")
    assert (done.returncode, done.stdout) == (0, "compiled in a stage\n")
