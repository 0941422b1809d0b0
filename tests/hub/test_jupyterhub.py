"""docs/examples/jupyterhub_config.py on our daemon: three users, their limits, the culler."""

from __future__ import annotations

import http.cookiejar
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.world import Daemon, wait_for
from tests.hub.conftest import ROOT

pytestmark = [
    pytest.mark.requires("root", "docker", "debootstrap", "npm"),
    pytest.mark.timeout(1500),
    pytest.mark.leaves("processes", why="the session's daemon forks its next monitor ahead"),
]
USERS = ("ann", "ben", "cho")
PACKAGES = ("jupyterhub>=5.2,<6", "dockerspawner", "jupyterhub-idle-culler")
PROXY = "configurable-http-proxy"
CONFIG = ROOT / "docs/examples/jupyterhub_config.py"
IDLE = 75  # seconds: long enough to look at all three, and for a lesson


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH with JupyterHub and its proxy, both in places of their own."""
    place = tmp_path_factory.mktemp("hub")
    venv, node = place / "venv", place / "node"
    for command in (
        [sys.executable, "-m", "venv", str(venv)],
        [f"{venv}/bin/pip", "install", "-q", *PACKAGES],
        ["npm", "install", "--silent", "--prefix", str(node), PROXY],
    ):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=600)
    return f"{venv}/bin:{node}/node_modules/.bin:{os.environ['PATH']}"


class Hub:
    """The hub as a process, and what a browser does with it."""

    def __init__(self, daemon: Daemon, place: Path, path: str, image: str) -> None:
        self.port = free_port()
        self.log = place / "log"
        shutil.copy(CONFIG, place / "config.py")
        environment = {
            **daemon.env, "PATH": path, "LAB_PASSWORD": "s3cret", "LAB_USERS": " ".join(USERS),
            "LAB_IMAGE": image, "LAB_PORT": str(self.port), "LAB_HUB_PORT": str(free_port()),
            "LAB_PROXY_PORT": str(free_port()), "LAB_MEMORY": "768M", "LAB_CPUS": "0.4",
            "LAB_IDLE": str(IDLE), "LAB_CULL_EVERY": "5", "LAB_NETWORK": "lclabs",
        }  # fmt: skip
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(["jupyterhub", "--config", "config.py"], cwd=place,
                                            env=environment, stdout=log, stderr=log)  # fmt: skip

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-4000:]
        try:
            with urllib.request.urlopen(self.url("/hub/health"), timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)


class Browser:
    """One user's: it keeps cookies and follows where it is sent."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.hub, self.name = hub, name
        self.cookies = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def get(self, path: str) -> tuple[str, str]:
        """(where it has led, what is there)."""
        with self.opener.open(self.hub.url(path), timeout=60) as answer:
            return answer.url, answer.read().decode(errors="replace")

    def log_in(self, password: str) -> str:
        """Where the form leads to."""
        _, page = self.get("/hub/login")
        found = re.search(r'name="_xsrf"\s+value="([^"]+)"', page)
        assert found, page[:2000]
        form = {"username": self.name, "password": password, "_xsrf": found[1]}
        data = urllib.parse.urlencode(form).encode()
        with self.opener.open(self.hub.url("/hub/login?next=/hub/home"), data, 60) as answer:
            return str(answer.url)

    def server(self) -> dict[str, object]:
        """What the user's own server says of itself, started if it was not."""
        ends = time.monotonic() + 150
        while time.monotonic() < ends:
            try:
                where, text = self.get(f"/user/{self.name}/api/status")
                if "/api/status" in where and text.startswith("{"):
                    return dict(json.loads(text))
            except urllib.error.HTTPError as error:
                if error.code not in (403, 404, 424, 503):  # it is not there yet
                    raise
            self.get(f"/hub/spawn/{self.name}")
            time.sleep(1)
        raise AssertionError(self.hub.log.read_text()[-6000:])


@pytest.fixture(scope="module")
def hub(
    daemon: Daemon, image: str, programs: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hub]:
    started = Hub(daemon, tmp_path_factory.mktemp("run"), programs, image)
    wait_for(started.answers, 60)
    yield started
    started.stop()
    daemon.clean()
    daemon.docker("network", "rm", "lclabs")
    daemon.docker("volume", "rm", *(f"lab-{name}" for name in USERS))


def inside(daemon: Daemon, name: str, script: str) -> str:
    return daemon.docker("exec", f"jupyter-{name}", "sh", "-c", script)


LIMITS = """
cd /sys/fs/cgroup
if [ -e memory.max ]; then cat memory.max pids.max cpu.max; else
    cat memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us
fi
"""


def test_three_users_each_in_a_container_with_its_limits(daemon: Daemon, hub: Hub) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        Browser(hub, "ann").log_in("wrong")
    browsers = [Browser(hub, name) for name in USERS]
    for one in browsers:
        assert one.log_in("s3cret").endswith("/hub/home")
        assert one.server()["kernels"] == 0
    running = daemon.docker("ps", "--format", "{{.Names}}").split()
    assert sorted(running) == [f"jupyter-{name}" for name in USERS]
    for name in USERS:
        assert inside(daemon, name, LIMITS).split() == [str(768 << 20), "512", "40000", "100000"]
        assert inside(daemon, name, "id -u; grep -E 'CapBnd|NoNewPrivs' /proc/1/status").split() \
            == ["1000", "CapBnd:", "0" * 16, "NoNewPrivs:", "1"]  # fmt: skip
        inside(daemon, name, f"echo {name} > ~/work/mine")
    strange = Browser(hub, "dan")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        strange.log_in("s3cret")


LESSON = """
from labcontainer.lab import course as lab
lab.start("02_chroot", tier="T1")
lab.run("import os; print(os.geteuid(), sum(1 for _ in os.scandir('/sys/fs/cgroup')) > 5)")
lab.command("sh", "-c", "echo of the guest > $LABCONTAINER_WORK/lesson")
"""


def test_a_lesson_runs_there_as_root_of_a_kernel_of_its_own(daemon: Daemon, hub: Hub) -> None:
    script = f"cd ~/labcontainer/notebooks && python - <<'END'{LESSON}END"
    said = daemon.docker("exec", "jupyter-ann", "sh", "-c", script, seconds=120).splitlines()
    assert said[0] == "02_chroot needs T1 · this machine: TU, root in the user-mode kernel"
    assert said[1] == "0 True", "control groups of version 2"
    assert inside(daemon, "ann", "cat ~/work/lesson; stat -c %u ~/work/lesson").split() \
        == ["of", "the", "guest", "1000"]  # fmt: skip


def test_idle_ones_are_stopped_and_work_is_kept(daemon: Daemon, hub: Hub) -> None:
    wait_for(lambda: daemon.docker("ps", "-aq") == "", IDLE + 120)
    stopped = re.findall(r"DELETE /hub/api/users/(\w+)/server \(culler@", hub.log.read_text())
    assert sorted(stopped) == list(USERS)
    again = Browser(hub, "ben")
    again.log_in("s3cret")
    again.server()
    assert inside(daemon, "ben", "cat ~/work/mine") == "ben"
