"""`labcontainer build` as an ordinary user: the same steps, in a user namespace."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import lab_home
from tests.system.build_home import BuildHome
from tests.system.lab_home import LabHome

pytestmark = pytest.mark.requires("userns", "overlay-userns", "busybox")

TEXT = """FROM busybox AS one
WORKDIR /w
COPY a.txt .
RUN rm a.txt && id -u > id && rm /etc/group && mkdir /etc/profile.d && cat id
FROM busybox
COPY --from=one /w/id /id
RUN --mount=type=cache,target=/c --mount=target=/ctx --mount=type=secret,id=s \\
    cat /ctx/a.txt /run/secrets/s > /seen; touch /c/x
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[LabHome]:
    yield from lab_home.home(1000)


@pytest.fixture
def home(lab: LabHome) -> BuildHome:
    place = Path(lab.home, "context")
    place.mkdir(exist_ok=True)
    place.chmod(0o755)
    return BuildHome(lab, place)


def test_stages_mounts_and_cache(home: BuildHome) -> None:
    flags = ("--secret", f"id=s,src={home.context}/s", "--network", "none", "-t", "mine")
    image = home.build(TEXT, *flags, files={"a.txt": "a\n", "s": "hush\n"})
    done = home.lab.run("mine", "cat", "/id", "/seen")
    assert (done.returncode, done.stdout) == (0, "0\na\nhush\n")
    assert home.build(TEXT, *flags).id == image.id
    assert "DONE" not in home.said.replace("DONE 0.0s", "")
    assert os.listdir(f"{home.store.path}/builds") == []
    if os.geteuid() == 0:
        owners = {os.lstat(f"{folder}/{name}").st_uid
                  for folder, _, names in os.walk(home.store.path) for name in names}  # fmt: skip
        assert owners == {1000}


def test_failure_and_removal(home: BuildHome) -> None:
    said = home.fails("FROM busybox\nRUN mkdir /x && chmod 0 /x && exit 5", "--network", "none")
    assert said.endswith("returned a non-zero code: 5")
    assert os.listdir(f"{home.store.path}/builds") == []


def test_whiteouts_are_in_the_layer(home: BuildHome) -> None:
    home.build("FROM busybox\nRUN rm -r /var && mkdir /var && touch /var/new && rmdir /home",
               "--network", "none", "-t", "less")  # fmt: skip
    done = home.lab.run("less", "/usr/bin/busybox", "ls", "/var", "/")
    assert "new" in done.stdout
    assert "lib" not in done.stdout.splitlines()[1:3]
    assert "home" not in done.stdout.split()


def test_a_file_that_only_its_owner_reads(home: BuildHome) -> None:
    """What root in the container has closed is readable for the next step."""
    image = home.build("FROM busybox AS a\nRUN echo x > /f && chmod 0 /f\nFROM scratch\n"
                       "COPY --from=a /f /", "--network", "none")  # fmt: skip
    directory = home.tree(image).directories[0] if os.geteuid() == 0 else ""
    if directory:
        assert stat.S_IMODE(os.stat(f"{directory}/f").st_mode) == 0


def test_same_image_as_root_makes(home: BuildHome, tmp_path: Path) -> None:
    """The layers of the same Dockerfile are the same, whoever builds."""
    if os.geteuid() != 0:
        pytest.skip("root: it takes root to compare with root's build")
    text = "FROM scratch\nCOPY a.txt /x/\nCOPY <<E /h\nh\nE\nENV A=1"
    files = {"a.txt": "a"}
    ids = []
    for lab in (home.lab, LabHome()):
        own = BuildHome(lab, home.context)
        own.write({"Dockerfile": text, **files})
        done = subprocess.run(
            lab.words("build", "-q", str(own.context)), text=True, capture_output=True,
            env={**lab.env, "SOURCE_DATE_EPOCH": "1000000000"}, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        ids.append(done.stdout)
        if lab is not home.lab:
            lab.remove()
    assert ids[0] == ids[1]


def test_base_of_the_machine_s_own_programs_is_made(home: BuildHome) -> None:
    home.lab.call("rmi", "--force", "busybox")
    assert "docker.io/library/busybox:latest" not in home.store.names()
    home.build("FROM busybox\nRUN true", "--network", "none", "--no-cache")
    assert "docker.io/library/busybox:latest" in home.store.names()
