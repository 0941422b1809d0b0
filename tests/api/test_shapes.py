"""Every answer about containers, networks, volumes and the whole has the API's fields and kinds."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api import shapes
from tests.api.test_durability import Connection
from tests.api.world import Daemon, wait_for

pytestmark = pytest.mark.requires("root", "docker", "busybox")


@pytest.fixture
def api(daemon: Daemon) -> Iterator[Connection]:
    with Connection(daemon) as connection:
        yield connection


@pytest.fixture
def box(api: Connection) -> str:
    """A running container that has a little of everything."""
    body = {
        "Image": "busybox", "Cmd": ["sleep", "1000"], "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/v": {}}, "Labels": {"a": "b"},
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 100_000_000},
        "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": ""}]}, "Binds": ["/tmp:/t:ro"]},
    }  # fmt: skip
    status, made = api.ask("POST", "/containers/create", body)
    assert status == 201
    shapes.check(made, shapes.CREATED)
    assert api.ask("POST", f"/containers/{made['Id']}/start") == (204, None)
    return str(made["Id"])


def get(api: Connection, path: str, shape: Any) -> Any:
    status, found = api.ask("GET", path)
    assert status == 200, found
    shapes.check(found, shape, path)
    return found


def test_containers(api: Connection, box: str) -> None:
    def log() -> list[Any]:
        state = api.ask("GET", f"/containers/{box}/json")[1]["State"]
        return list(state["Health"]["Log"])

    wait_for(lambda: bool(log()))
    for version in ("/v1.24", "/v1.41", "/v1.44", ""):
        get(api, f"{version}/containers/{box}/json", shapes.CONTAINER_INSPECT)
        get(api, f"{version}/containers/json?all=1", [shapes.CONTAINER_SUMMARY])
    sized = get(api, f"/containers/{box}/json?size=1", {"SizeRw": int, "SizeRootFs": int})
    assert sized["SizeRootFs"] > 1_000_000
    get(api, f"/containers/{box}/top", shapes.TOP)
    get(api, f"/containers/{box}/changes", shapes.CHANGES)
    get(api, f"/containers/{box}/stats?stream=0", shapes.STATS)
    update = {"Memory": 64 << 20, "MemorySwap": 128 << 20}
    assert api.ask("POST", f"/containers/{box}/update", update)[1] == {"Warnings": []}


def test_execs(api: Connection, box: str) -> None:
    status, made = api.ask("POST", f"/containers/{box}/exec", {"Cmd": ["echo", "x"]})
    assert status == 201
    found = get(api, f"/exec/{made['Id']}/json", shapes.EXEC)
    assert found["ProcessConfig"]["arguments"] == ["x"]


def test_networks_and_volumes(api: Connection, box: str) -> None:
    status, made = api.ask("POST", "/networks/create", {"Name": "shaped", "Labels": {"a": "b"}})
    assert status == 201
    shapes.check(made, {"Id": str, "Warning": str})
    get(api, "/networks", [shapes.NETWORK])
    for name in ("shaped", "bridge", "host", "none"):
        get(api, f"/networks/{name}", shapes.NETWORK)
    status, volume = api.ask("POST", "/volumes/create", {"Name": "shaped"})
    assert status == 201
    shapes.check(volume, shapes.VOLUME)
    get(api, "/volumes", shapes.VOLUMES)
    get(api, "/volumes/shaped", shapes.VOLUME)
    get(api, "/system/df", shapes.DISK_USAGE)
    pruned = api.ask("POST", "/networks/prune")[1]
    assert pruned == {"NetworksDeleted": ["shaped"]}
    assert api.ask("DELETE", "/volumes/shaped") == (204, None)
    shapes.check(api.ask("POST", "/volumes/prune")[1], {"SpaceReclaimed": int})


def test_the_whole(api: Connection, box: str) -> None:
    get(api, "/info", shapes.INFO)
    get(api, "/version", shapes.VERSION)
    api.request("GET", "/events?since=1&until=1")
    assert api.getresponse().read() == b""


def test_events(daemon: Daemon, api: Connection, box: str) -> None:
    api.request("GET", f"/events?since=1&until={time.time():.6f}")
    lines = api.getresponse().read().splitlines()
    assert lines
    for line in lines:
        shapes.check(json.loads(line), shapes.EVENT)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/containers/nosuch/json", 404),
        ("POST", "/containers/nosuch/start", 404),
        ("DELETE", "/containers/nosuch", 404),
        ("GET", "/networks/nosuch", 404),
        ("GET", "/volumes/nosuch", 404),
        ("GET", "/exec/nosuch/json", 404),
        ("DELETE", "/networks/bridge", 403),
        ("GET", "/swarm", 503),
        ("GET", "/nodes", 503),
        ("GET", "/services", 503),
        ("POST", "/swarm/init", 501),
        ("GET", "/plugins/x/json", 404),
        ("POST", "/session", 501),
        ("GET", "/containers/json?limit=x", 400),
        ("GET", "/containers/json?filters=%7B%22nosuch%22%3A%5B%5D%7D", 400),
    ],
)
def test_refusals(api: Connection, method: str, path: str, status: int) -> None:
    found, body = api.ask(method, path)
    assert (found, set(body)) == (status, {"message"})
    assert body["message"]


def test_twice_is_told(api: Connection, box: str) -> None:
    assert api.ask("POST", f"/containers/{box}/start")[0] == 304
    assert api.ask("POST", f"/containers/{box}/kill")[0] == 204
    assert api.ask("POST", f"/containers/{box}/kill")[0] == 409
    assert api.ask("POST", f"/containers/{box}/stop")[0] == 304
    assert api.ask("POST", f"/containers/{box}/unpause")[0] == 409
    shapes.check(api.ask("POST", f"/containers/{box}/wait")[1], {"StatusCode": int})
    shapes.check(api.ask("POST", "/containers/prune")[1], shapes.CONTAINERS_PRUNED)
