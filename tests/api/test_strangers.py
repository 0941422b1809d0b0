"""Images that somebody made who means harm, and requests for what can't be: one clear answer."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.api.plain import TAR, archive, ask, only_busybox
from tests.api.world import Daemon, wait_for

JSON = {"Content-Type": "application/json"}
pytestmark = pytest.mark.requires("root", "docker", "busybox")


@pytest.fixture(autouse=True)
def nothing_stays(daemon: Daemon) -> Iterator[None]:
    before = daemon.said().count("Traceback")
    yield
    only_busybox(daemon)
    assert daemon.said().count("Traceback") == before, daemon.said()


def layer() -> bytes:
    """The files of a root file system: busybox."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as written:
        written.add("/bin/busybox", "bin/busybox")
        for name in ("sh", "ls", "true"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            written.addfile(link)
    return out.getvalue()


def load(daemon: Daemon, config: dict[str, Any]) -> bool:
    """Load an image `stranger` with this config; whether it was taken."""
    data = layer()
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(data).hexdigest()}"]}
    document = {"architecture": "amd64", "os": "linux", "config": config, "rootfs": rootfs}
    manifest = [{"Config": "c.json", "RepoTags": ["stranger:latest"], "Layers": ["l.tar"]}]
    files = {
        "c.json": json.dumps(document).encode(),
        "l.tar": data,
        "manifest.json": json.dumps(manifest).encode(),
    }
    status, said = ask(daemon, "POST", "/images/load?quiet=1", archive(files), TAR)
    return status == 200 and b"error" not in said


@pytest.mark.parametrize(
    "check",
    [
        {"Interval": 10**30},
        {"Timeout": 2**63},
        {"StartPeriod": 10**40},
        {"Interval": "soon"},
        {"Retries": "many"},
        {"Test": "CMD"},
        {"Test": [5]},
    ],
)
def test_an_impossible_health_check(daemon: Daemon, check: dict[str, Any]) -> None:
    config = {"Cmd": ["true"], "Healthcheck": {"Test": ["CMD", "true"], **check}}
    if load(daemon, config):
        status, said = daemon.fails("run", "--rm", "--network", "none", "stranger")
        assert status == 125 and "ealthcheck" in said, said


def test_a_health_check_after_all_ages(daemon: Daemon) -> None:
    """Docker takes what fits its 63 bits of nanoseconds."""
    times = dict.fromkeys(("Interval", "Timeout", "StartPeriod"), 2**63 - 1)
    config = {"Cmd": ["sh", "-c", "exit 3"], "Healthcheck": {"Test": ["CMD", "true"], **times}}
    assert load(daemon, config)
    status, _ = daemon.fails("run", "--rm", "--network", "none", "stranger")
    assert status == 3


def test_a_volume_outside(daemon: Daemon, tmp_path: Path) -> None:
    place = f"/{'../' * 20}{tmp_path}/outside"
    config = {"Cmd": ["ls", f"{tmp_path}"], "Volumes": {place: {}}}
    assert load(daemon, config)
    assert daemon.docker("run", "--rm", "--network", "none", "stranger") == "outside"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("seconds", ["99999999999999", "9" * 30])
def test_a_stop_that_would_wait_for_ages(daemon: Daemon, seconds: str) -> None:
    script = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done"
    words = ("--name", "quick", "--network", "none", "busybox", "sh", "-c", script)
    daemon.docker("run", "-d", *words)
    wait_for(lambda: daemon.docker("logs", "quick") == "ready")
    status, said = ask(daemon, "POST", f"/containers/quick/stop?t={seconds}")
    assert status in (204, 400), said


def test_one_exec_is_started_once(daemon: Daemon) -> None:
    daemon.docker("run", "-d", "--name", "one", "--network", "none", "busybox", "sleep", "1000")
    for _ in range(10):
        body = json.dumps({"Cmd": ["true"], "AttachStdout": True}).encode()
        _, said = ask(daemon, "POST", "/containers/one/exec", body, JSON)
        path = f"/exec/{json.loads(said)['Id']}/start"
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(ask, daemon, "POST", path, b"{}", JSON) for _ in range(4)]
            statuses = sorted(one.result()[0] for one in asked)
        assert statuses == [200, 409, 409, 409]
