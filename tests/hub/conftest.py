"""The lab's image, built by our daemon as Binder builds it, from a Debian by debootstrap."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.world import Daemon

ROOT = Path(__file__).resolve().parents[2]
MIRROR = "deb.debian.org"
IMAGE = "labcontainer-lab"
CONTEXT = "README.md LICENSE pyproject.toml requirements.txt binder labcontainer notebooks".split()
AUTHORITIES = Path("/usr/local/share/ca-certificates")  # this machine's own, if it has some


@pytest.fixture(scope="session")
def daemon(clean_machine_after_all: None) -> Iterator[Daemon]:
    """A daemon that has Debian under the name that binder/Dockerfile begins with."""
    try:
        socket.create_connection((MIRROR, 80), 10).close()
    except OSError as error:
        pytest.skip(f"network: {MIRROR} cannot be reached: {error}")
    place = Path(tempfile.mkdtemp(prefix="hub-"))
    started = Daemon(place).start()
    make_debian(started, place)
    yield started
    started.clean()
    assert started.stop() == 0
    assert "Traceback" not in started.said(), started.said()
    shutil.rmtree(place)


def make_debian(daemon: Daemon, place: Path) -> None:
    """Import Debian's base system, with the certificates that this machine trusts."""
    root = place / "root"
    words = ["debootstrap", "--variant=minbase", "bookworm", str(root), f"http://{MIRROR}/debian"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    trusted = root / AUTHORITIES.relative_to("/")
    trusted.mkdir(parents=True, exist_ok=True)
    for found in AUTHORITIES.glob("*.crt"):
        shutil.copy(found, trusted)
    known = "-c 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt'"
    line = f"tar -C {root} -c . | docker import {known} - debian:bookworm-slim"
    imported = daemon.call("sh", "-c", line, seconds=300)
    assert imported.returncode == 0, imported.stderr.decode()
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def image(daemon: Daemon) -> str:
    """The image of binder/Dockerfile, as it is in the repository."""
    left_out = "--exclude=__pycache__ --exclude=mycontainer --exclude=.ipynb_checkpoints"
    context = f"tar -C {ROOT} -c {left_out} {' '.join(CONTEXT)}"
    line = f"{context} | docker build -q -t {IMAGE} -f binder/Dockerfile -"
    done = daemon.call("sh", "-c", line, seconds=900)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()[-4000:]
    return IMAGE
