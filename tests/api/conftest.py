"""One daemon for a module, with the image busybox of this machine's own programs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.world import Daemon

SECONDS = 600  # for a test: each of its calls has a bound of its own, and a busy machine takes long


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of this directory may take longer than others, unless they say so themselves."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture(scope="session")
def image(clean_machine_after_all: None) -> Iterator[Path]:
    """A home that has the image busybox; to be copied, not to be used."""
    place = Path(tempfile.mkdtemp(prefix="api-image-"))
    maker = Daemon(place)
    done = maker.call(*maker.command("image", "from-host", "busybox"))
    assert done.returncode == 0, done.stderr.decode()
    yield maker.home
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def place(clean_machine: None, image: Path) -> Iterator[Path]:
    """A directory with a home, for a daemon; a socket's path must be short."""
    found = Path(tempfile.mkdtemp(prefix="api-"))
    shutil.copytree(image, found / "home", symlinks=True)
    yield found
    shutil.rmtree(found)


@pytest.fixture(scope="module")
def running(place: Path) -> Iterator[Daemon]:
    """The module's daemon."""
    started = Daemon(place).start()
    yield started
    started.clean()
    assert started.stop() == 0
    assert "Traceback" not in started.said(), started.said()


@pytest.fixture
def daemon(running: Daemon) -> Iterator[Daemon]:
    """The module's daemon, without containers when the test is over."""
    yield running
    if running.process is None or running.process.poll() is not None:
        running.start()  # a test that kills it has failed half way: the next ones need it
    running.clean()


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Any]:
    """docker-py for it."""
    import docker

    made = docker.DockerClient(base_url=f"unix://{daemon.socket}", version="auto")
    yield made
    made.close()
