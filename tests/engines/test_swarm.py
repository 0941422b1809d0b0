"""Docker's own cluster over our runtime: two dockerds as a swarm, a service, a node drained."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.world import World, wait_for

pytestmark = pytest.mark.requires("root", "dockerd", "docker", "busybox")
NODES = {"one": "10.213.8.1", "two": "10.213.8.2"}


class Node:
    """A dockerd with a network namespace, a data root and a runtime's state of its own."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name, self.place = world, name, world.place / name
        self.place.mkdir()
        self.exec = self.place / "exec"
        config = self.place / "daemon.json"
        runtimes = {"lab": {"path": str(world.runtime)}}
        config.write_text(json.dumps({"runtimes": runtimes, "default-runtime": "lab"}))
        self.daemon = world.start(
            # A host name apart: a swarm calls its nodes by it.
            "nsenter", f"--net=/run/netns/{name}",
            "unshare", "--uts", "sh", "-c", f'hostname {name}; exec "$@"', "dockerd",
            "dockerd",
            f"--config-file={config}",
            f"--host=unix://{self.place}/docker.sock",
            f"--data-root={self.place}/data",
            f"--exec-root={self.exec}",
            f"--pidfile={self.place}/pid",
            f"--cgroup-parent=/{world.cgroup}/{name}",
            log=self.place / "log",
        )  # fmt: skip

    def call(self, *words: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
        host = f"--host=unix://{self.place}/docker.sock"
        return self.world.call("docker", host, *words, stdin=stdin)

    def __call__(self, *words: str, stdin: bytes | None = None) -> str:
        done = self.call(*words, stdin=stdin)
        assert done.returncode == 0, f"{self.name}: docker {words}: {done.stderr}"
        return done.stdout.strip()

    def answers(self) -> bool:
        """Whether it has begun."""
        return self.call("version").returncode == 0

    def running(self) -> list[str]:
        """The whole ids of the containers that it says are running."""
        return self("ps", "--quiet", "--no-trunc").split()

    def tasks(self) -> dict[str, str]:
        """The node of each task of every service that shall run, by its slot; a manager knows."""
        shape = ("--filter=desired-state=running", "--format={{.Name}} {{.Node}} {{.CurrentState}}")
        found = [line.split() for name in self("service", "ls", "--quiet").split()
                 for line in self("service", "ps", *shape, name).splitlines()]  # fmt: skip
        return {slot: node for slot, node, state, *_ in found if state == "Running"}

    def state(self, identity: str) -> dict[str, Any]:
        """What our runtime says of a container, out of the state that it keeps for this dockerd."""
        root = self.exec / "runtime-runc/moby"  # so called by every dockerd, whatever the runtime
        said: dict[str, Any] = json.loads(
            self.world.run(self.world.runtime, "--root", root, "state", identity)
        )
        return said


@pytest.fixture(scope="module")
def swarm(rootfs: Path) -> Iterator[dict[str, Node]]:
    """Two nodes; the first is the manager."""
    world = World(Path(tempfile.mkdtemp(prefix="lc-swarm-")))
    nodes: dict[str, Node] = {}
    try:
        cable(world)
        nodes |= {name: Node(world, name) for name in NODES}
        for node in nodes.values():
            wait_for(node.answers, 60)
        tar = subprocess.run(["tar", "-C", rootfs, "-c", "."], capture_output=True, check=True)
        for node in nodes.values():
            node("import", "-", "box", stdin=tar.stdout)
        one, two = nodes.values()
        # A node is called down after three heartbeats: too soon for a busy machine, at 5 s each.
        one("swarm", "init", f"--advertise-addr={NODES['one']}", "--dispatcher-heartbeat=20s")
        token = one("swarm", "join-token", "--quiet", "worker")
        two("swarm", "join", "--token", token, f"--advertise-addr={NODES['two']}",
            f"{NODES['one']}:2377")  # fmt: skip
        wait_for(lambda: one("node", "ls", "--format={{.Status}}").split() == ["Ready"] * 2, 60)
        yield nodes
        for node in (two, one):
            node("swarm", "leave", "--force")
    finally:
        world.close([node.daemon for node in nodes.values()])


def cable(world: World) -> None:
    """Two network namespaces and a cable between them."""
    for name in NODES:
        world.run("ip", "netns", "add", name)
        world.run("ip", "-n", name, "link", "set", "lo", "up")
    world.run("ip", "link", "add", "lcone", "netns", "one", "type", "veth",
              "peer", "name", "lctwo", "netns", "two")  # fmt: skip
    for name, address in NODES.items():
        world.run("ip", "-n", name, "address", "add", f"{address}/24", "dev", f"lc{name}")
        world.run("ip", "-n", name, "link", "set", f"lc{name}", "up")


# A program that ends when it is asked to; `sleep` as PID 1 would not, and be killed 10 s later.
PROGRAM = ("sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait")


@pytest.fixture
def service(swarm: dict[str, Node]) -> Iterator[str]:
    """A service of four tasks, all of which run. There is no IPVS here, so it has no address."""
    one, _ = swarm.values()
    name = f"s{time.monotonic_ns()}"
    one("service", "create", "--detach", "--quiet", f"--name={name}", "--replicas=4",
        "--endpoint-mode=dnsrr", "--restart-delay=0s", "box", *PROGRAM)  # fmt: skip
    wait_for(lambda: len(one.tasks()) == 4, 60)
    yield name
    one("service", "rm", name)
    wait_for(lambda: not any(node("ps", "--all", "--quiet") for node in swarm.values()), 60)


def test_a_service_is_spread_and_its_containers_are_ours(
    swarm: dict[str, Node], service: str
) -> None:
    manager = swarm["one"]
    assert sorted(manager.tasks().values()) == ["one", "one", "two", "two"]
    for node in swarm.values():
        assert len(node.running()) == 2
        for identity in node.running():
            state = node.state(identity)
            assert state["status"] == "running"
            pid = node("inspect", "--format={{.State.Pid}}", identity)
            assert str(state["pid"]) == pid
            # Nothing of us stays beside it: its parent is the shim, as with runc.
            parent = manager.world.run("ps", "-o", "ppid=", "-p", pid).strip()
            assert "containerd-shim" in manager.world.run("ps", "-o", "comm=", "-p", parent)
            program = manager.world.run("ps", "-o", "args=", "-p", pid)
            assert program == " ".join(PROGRAM)


def test_the_tasks_of_a_drained_node_move(swarm: dict[str, Node], service: str) -> None:
    one, two = swarm.values()
    stayed = {slot for slot, node in one.tasks().items() if node == "one"}
    before = one.running()
    one("node", "update", "--availability=drain", "two")
    try:
        wait_for(lambda: list(one.tasks().values()) == ["one"] * 4, 60)
        wait_for(lambda: not two.running(), 60)
        assert stayed < set(one.tasks()), "a slot keeps its number on whichever node it runs"
        assert set(before) < set(one.running()), "who was there already is left alone"
        assert all(one.state(identity)["status"] == "running" for identity in one.running())
    finally:
        one("node", "update", "--availability=active", "two")


def test_a_task_that_was_killed_is_started_anew(swarm: dict[str, Node], service: str) -> None:
    one, two = swarm.values()
    killed = two.running()[0]
    pid = two.state(killed)["pid"]
    one.world.run("kill", "-9", str(pid))
    wait_for(lambda: killed not in two.running() and len(one.tasks()) == 4, 60)
    wait_for(lambda: len(one.running()) + len(two.running()) == 4, 60)
