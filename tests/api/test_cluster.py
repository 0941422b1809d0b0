"""Services on three daemons, ordered with docker's own commands, old and new; what dies comes back.

Nothing here takes a time to be right: what is waited for is a fact that the manager or the kernel
tells, for as long as a busy machine may need.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labcontainer.client import address, api
from tests.api.world import ROOT, Daemon, wait_for

pytestmark = pytest.mark.requires("root", "docker", "busybox")

NAMES = ("a", "b", "c")
# The newest docker command there is, and the one of the distribution.
DOCKERS = [path for path in dict.fromkeys((shutil.which("docker"), "/usr/bin/docker"))
           if path and os.path.exists(path)]  # fmt: skip
PROGRAM = ("sh", "-c", "echo hello; exec sleep 1000")
# Nothing of a network is needed here: a container is made sooner without one. `sleep` as PID 1 does
# not end when it is asked to, so it is not asked.
QUICK = ("--detach", "--network=host", "--no-resolve-image", "--restart-delay=0s",
         "--stop-signal=KILL")  # fmt: skip
# An update is done with its last task, not 5 s later.
NO_WATCH = ("--update-monitor=1ms", "--rollback-monitor=1ms")
PATIENCE = 60.0  # seconds that a busy machine may need


class Cluster:
    """Three daemons and a manager, each a process with a home of its own."""

    def __init__(self, place: Path, image: Path) -> None:
        self.place, self.socket = place, place / "m.sock"
        self.nodes = {name: Daemon(place / name) for name in NAMES}
        for node in self.nodes.values():
            shutil.copytree(image, node.home, symlinks=True)
        self.env = {**os.environ, "DOCKER_HOST": f"unix://{self.socket}",
                    "LABCONTAINER_HOST": f"unix://{self.socket}",
                    "DOCKER_CONFIG": str(place / "docker")}  # fmt: skip
        self.client = api.Client(address.Address(str(self.socket)), patience=PATIENCE)
        self.docker_command = DOCKERS[0]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, grace: int = 60) -> None:
        """Start the manager, and wait until it listens and all nodes are connected.

        A busy machine may need seconds for that: with a short grace time nodes would be lost.
        """
        ready, theirs = os.pipe()
        words = [f"--node={name}=unix://{node.socket}" for name, node in self.nodes.items()]
        with (self.place / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "labcontainer.cli.main", "cluster", "serve", *words,
                 f"--data-root={self.place}/manager", f"--host=unix://{self.socket}",
                 f"--ready-fd={theirs}", f"--grace={grace}"],
                env=self.env, stdout=log, stderr=log, pass_fds=[theirs], cwd=ROOT,
            )  # fmt: skip
        os.close(theirs)
        told = os.read(ready, 1)
        os.close(ready)
        assert told, self.said()
        wait_for(lambda: all("Message" not in one["Status"] for one in self.client.get("/nodes")),
                 PATIENCE)  # fmt: skip

    def said(self) -> str:
        return (self.place / "log").read_text(errors="replace")

    def kill(self) -> None:
        """kill -9 of the manager."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def call(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run([self.docker_command, *words], env=self.env, capture_output=True,
                              input=stdin, text=True, timeout=PATIENCE, check=False)  # fmt: skip

    def __call__(self, *words: str) -> str:
        """The docker command, which must succeed."""
        done = self.call(*words)
        assert done.returncode == 0, f"docker {words}: {done.stderr}{self.said()}"
        return done.stdout.strip()

    def create(self, name: str, *words: str, program: tuple[str, ...] = PROGRAM) -> str:
        return self("service", "create", *QUICK, f"--name={name}", *words, "busybox", *program)

    def tasks(self, service: str, state: str = "running") -> list[dict[str, Any]]:
        """The service's tasks that are wanted and in a state."""
        wanted = {"service": [service], "desired-state": ["running"]}
        found = self.client.get("/tasks", filters=wanted)
        return [one for one in found if one["Status"]["State"] == state]

    def spread(self, service: str) -> dict[str, int]:
        """How many tasks of a service run on each node."""
        names = {one["ID"]: one["Description"]["Hostname"] for one in self.client.get("/nodes")}
        return dict(Counter(names[one["NodeID"]] for one in self.tasks(service)))

    def until(self, service: str, wanted: dict[str, int]) -> None:
        """Wait until a service's tasks are spread like this."""
        wait_for(lambda: self.spread(service) == wanted, PATIENCE)

    def containers(self, node: str) -> set[str]:
        """The containers that a node says are running."""
        client = api.Client(address.Address(str(self.nodes[node].socket)), patience=PATIENCE)
        return {one["Id"] for one in client.get("/containers/json")}

    def no_tasks(self) -> bool:
        """Whether nothing of any service is left on any node."""
        clients = [api.Client(address.Address(str(one.socket)), patience=PATIENCE)
                   for one in self.nodes.values()]  # fmt: skip
        return not any(one.get("/containers/json", all=1) for one in clients)


@pytest.fixture(scope="module")
def running(clean_machine: None, image: Path) -> Iterator[Cluster]:
    """The module's cluster."""
    place = Path(tempfile.mkdtemp(prefix="lc-cl-"))
    made = Cluster(place, image)
    started: list[Daemon] = []
    try:
        for node in made.nodes.values():
            started.append(node.start())
        made.start()
        yield made
        assert made.stop() == 0
        assert "Traceback" not in made.said() and "Error:" not in made.said(), made.said()
    finally:
        if made.process is not None and made.process.poll() is None:
            made.kill()
        for node in started:
            if node.process is not None and node.process.poll() is None:
                node.clean()
                node.stop()
        shutil.rmtree(place)


@pytest.fixture
def cluster(running: Cluster) -> Iterator[Cluster]:
    """The cluster without services, with all nodes active, before and after."""
    yield running
    if running.process is None or running.process.poll() is not None:
        running.start()
    for node in running.nodes.values():
        if node.process is None or node.process.poll() is not None:
            node.start()  # a test that kills it has failed half way
    for service in running.client.get("/services"):
        running.client.delete(f"/services/{service['ID']}")
    for one in running.client.get("/nodes"):
        spec = {**one["Spec"], "Availability": "active", "Labels": {}}
        running.client.post(f"/nodes/{one['ID']}/update", spec, version=one["Version"]["Index"])
    wait_for(running.no_tasks, PATIENCE)


@pytest.fixture(params=DOCKERS)
def each(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, asked by each docker command."""
    before, cluster.docker_command = cluster.docker_command, request.param
    yield cluster
    cluster.docker_command = before


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


# --- what is asked for ----------------------------------------------------------------------------


def test_nodes_are_listed_and_changed(each: Cluster) -> None:
    shape = "{{.Hostname}} {{.Status}} {{.Availability}} {{.EngineVersion}}"
    listed = rows(each("node", "ls", f"--format={shape}"))
    assert [row[:3] for row in listed] == [[name, "Ready", "Active"] for name in NAMES]
    each("node", "update", "--availability=pause", "--label-add=disk=ssd", "a")
    found = json.loads(each("node", "inspect", "a"))[0]
    assert found["Spec"] == {"Labels": {"disk": "ssd"}, "Role": "worker", "Availability": "pause"}
    assert found["Description"]["Resources"]["MemoryBytes"] > 0
    assert each("node", "ls", "--filter=node.label=disk=ssd", "--format={{.Hostname}}") == "a"
    assert "Availability:         \tPause" in each("node", "inspect", "--pretty", "a")
    assert "Nodes: 3" in each("info") and "Is Manager: true" in each("info")


def test_a_service_is_spread_scaled_drained_and_removed(each: Cluster) -> None:
    identity = each.create("web", "--replicas=4", "--label=kind=test", "--env=SLOT={{.Task.Slot}}")
    each.until("web", {"a": 2, "b": 1, "c": 1})
    listed = rows(each("service", "ls", "--format={{.ID}} {{.Name}} {{.Mode}} {{.Replicas}}"))
    assert listed == [[identity[:12], "web", "replicated", "4/4"]]
    shown = rows(each("service", "ps", "web", "--format={{.Name}} {{.Node}} {{.DesiredState}}"))
    assert sorted(shown) == [["web.1", "a", "Running"], ["web.2", "b", "Running"],
                             ["web.3", "c", "Running"], ["web.4", "a", "Running"]]  # fmt: skip
    assert each("node", "ps", "c", "--format={{.Name}}") == "web.3"

    task = each.tasks("web")[0]
    container = task["Status"]["ContainerStatus"]["ContainerID"]
    (node,) = [one for one in NAMES if container in each.containers(one)]
    labels = json.loads(each.nodes[node].docker("inspect", container))[0]["Config"]["Labels"]
    assert labels["com.docker.swarm.service.name"] == "web"
    assert labels["com.docker.swarm.task.id"] == task["ID"]
    slot = each.nodes[node].docker("exec", container, "sh", "-c", "echo $SLOT")
    assert slot == str(task["Slot"])

    assert each("service", "scale", "--detach", "web=6") == "web scaled to 6"
    each.until("web", {"a": 2, "b": 2, "c": 2})
    each("node", "update", "--availability=drain", "b")
    each.until("web", {"a": 3, "c": 3})
    assert not each.containers("b")
    assert each("service", "scale", "--detach", "web=1") == "web scaled to 1"
    wait_for(lambda: sum(each.spread("web").values()) == 1, PATIENCE)
    assert each("service", "rm", "web") == "web"
    wait_for(each.no_tasks, PATIENCE)
    assert each("service", "ls", "--quiet") == ""


def test_logs_say_whose_each_line_is(each: Cluster) -> None:
    each.create("web", "--replicas=2")
    each.until("web", {"a": 1, "b": 1})

    def said() -> list[list[str]]:
        return sorted(rows(each("service", "logs", "web")))

    wait_for(lambda: len(said()) == 2, PATIENCE)
    (first, second) = said()
    assert first[0].startswith("web.1.") and first[0].endswith("@a") and first[2] == "hello"
    assert second[0].startswith("web.2.") and second[0].endswith("@b")
    assert each("service", "logs", "--raw", "web").split() == ["hello", "hello"]
    task = each.tasks("web")[0]["ID"]
    assert each("service", "logs", "--raw", task) == "hello"


def test_logs_are_followed_into_new_tasks(cluster: Cluster) -> None:
    cluster.create("web", "--replicas=1")
    words = [cluster.docker_command, "service", "logs", "--follow", "web"]
    with subprocess.Popen(words, env=cluster.env, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        try:
            assert following.stdout.readline().startswith("web.1.")
            cluster("service", "scale", "--detach", "web=2")
            assert following.stdout.readline().startswith("web.2.")
        finally:
            following.kill()  # an older docker command does not mind being asked to end


def test_the_docker_command_waits_until_it_is_so(cluster: Cluster) -> None:
    words = [word for word in QUICK if word != "--detach"]
    done = cluster("service", "create", *words, "--name=web", "--replicas=2", "busybox", *PROGRAM)
    assert "verify: Service " in done and "converged" in done
    assert cluster.spread("web") == {"a": 1, "b": 1}


def test_a_global_service_is_on_each_node(cluster: Cluster) -> None:
    cluster("node", "update", "--label-add=disk=ssd", "a")
    cluster("node", "update", "--label-add=disk=ssd", "c")
    cluster.create("log", "--mode=global", "--constraint=node.labels.disk==ssd")
    cluster.until("log", {"a": 1, "c": 1})
    cluster("node", "update", "--label-add=disk=ssd", "b")
    cluster.until("log", {"a": 1, "b": 1, "c": 1})
    assert "global" in cluster("service", "ls")


STACK = """
version: "3.8"
services:
  web: {image: busybox, command: sleep 1000, stop_signal: KILL, deploy: {replicas: 2}}
networks:
  default: {name: host, external: true}
"""


def test_a_stack_without_a_network_of_its_own(each: Cluster) -> None:
    path = each.place / "stack.yml"
    path.write_text(STACK)
    each("stack", "deploy", "--resolve-image=never", f"--compose-file={path}", "st")
    each.until("st_web", {"a": 1, "b": 1})
    assert rows(each("stack", "ls", "--format={{.Name}} {{.Services}}")) == [["st", "1"]]
    assert each("stack", "services", "st", "--format={{.Name}} {{.Replicas}}") == "st_web 2/2"
    assert len(rows(each("stack", "ps", "--quiet", "st"))) == 2
    each("stack", "rm", "st")
    wait_for(each.no_tasks, PATIENCE)


def test_a_full_cluster_makes_tasks_wait_and_says_why(each: Cluster) -> None:
    (memory,) = {
        one["Description"]["Resources"]["MemoryBytes"] for one in each.client.get("/nodes")
    }
    each.create("big", "--replicas=4", f"--reserve-memory={memory * 2 // 3}")
    wait_for(lambda: len(each.tasks("big", "pending")) == 1, PATIENCE)
    each.until("big", {"a": 1, "b": 1, "c": 1})
    shown = each("service", "ps", "--no-trunc", "big", "--format={{.CurrentState}} {{.Error}}")
    reason = '"no suitable node (insufficient resources on 3 nodes)"'
    (pending,) = [line for line in shown.splitlines() if line.startswith("Pending")]
    assert pending.endswith(reason)
    each("service", "update", "--detach", "--reserve-memory=1m", "big")
    each.until("big", {"a": 2, "b": 1, "c": 1})


# --- what changes ---------------------------------------------------------------------------------


def test_a_rolling_update_takes_down_one_at_a_time(each: Cluster) -> None:
    each.create("web", "--replicas=3", *NO_WATCH)
    each.until("web", {"a": 1, "b": 1, "c": 1})
    before = {one["ID"] for one in each.tasks("web")}
    each("service", "update", "--detach", "--env-add=NEW=1", "web")
    fewest = 3
    while state(each) != "completed":
        fewest = min(fewest, len(each.tasks("web")))
    assert fewest >= 2
    assert not before & {one["ID"] for one in each.tasks("web")}
    assert all(one["Spec"]["ContainerSpec"]["Env"] == ["NEW=1"] for one in each.tasks("web"))
    each("service", "rollback", "--detach", "web")
    wait_for(lambda: state(each) == "rollback_completed", PATIENCE)
    assert not any("Env" in one["Spec"]["ContainerSpec"] for one in each.tasks("web"))


def state(cluster: Cluster) -> str:
    """How the update of the service `web` goes."""
    found = cluster.client.get("/services/web")
    return str(found.get("UpdateStatus", {}).get("State", ""))


@pytest.mark.parametrize(
    ("action", "ends", "number"), [("pause", "paused", 2), ("rollback", "rollback_completed", 3)]
)
def test_an_update_that_fails(cluster: Cluster, action: str, ends: str, number: int) -> None:
    cluster.create("web", "--replicas=3", *NO_WATCH,
                   f"--update-failure-action={action}", "--restart-max-attempts=1")  # fmt: skip
    cluster.until("web", {"a": 1, "b": 1, "c": 1})
    before = {one["ID"] for one in cluster.tasks("web")}
    cluster("service", "update", "--detach", "--args=/no/such/program", "web")
    wait_for(lambda: state(cluster) == ends, PATIENCE)
    wait_for(lambda: len(cluster.tasks("web")) == number, PATIENCE)
    assert len(before & {one["ID"] for one in cluster.tasks("web")}) == 2, "two were left alone"


def test_a_container_that_is_killed_is_replaced(cluster: Cluster) -> None:
    cluster.create("web")
    cluster.until("web", {"a": 1})
    (task,) = cluster.tasks("web")
    os.kill(task["Status"]["ContainerStatus"]["PID"], signal.SIGKILL)
    wait_for(lambda: {one["ID"] for one in cluster.tasks("web")} not in ({task["ID"]}, set()),
             PATIENCE)  # fmt: skip
    found = cluster("service", "ps", "--no-trunc", "web", "--format={{.ID}} {{.Error}}")
    assert f'{task["ID"]} "task: non-zero exit (137)"' in found


def test_what_can_not_be_started_is_told(cluster: Cluster) -> None:
    cluster.create("web", "--restart-condition=none", program=("/no/such/program",))
    shape = "--format={{.CurrentState}} {{.Error}}"
    wait_for(lambda: "Rejected" in cluster("service", "ps", "--no-trunc", "web", shape), PATIENCE)
    assert "/no/such/program" in cluster("service", "ps", "--no-trunc", "web", shape)


def test_a_name_is_used_again_at_once(cluster: Cluster) -> None:
    cluster.create("web", "--replicas=3")
    cluster.until("web", {"a": 1, "b": 1, "c": 1})
    before = {one["ID"] for one in cluster.tasks("web")}
    cluster("service", "rm", "web")
    cluster.create("web", "--replicas=3", "--env=NEW=1")
    cluster.until("web", {"a": 1, "b": 1, "c": 1})
    found = cluster.tasks("web")
    assert not before & {one["ID"] for one in found}
    assert all(one["Spec"]["ContainerSpec"]["Env"] == ["NEW=1"] for one in found)
    wait_for(lambda: sum(len(cluster.containers(name)) for name in NAMES) == 3, PATIENCE)


# --- what dies ------------------------------------------------------------------------------------


def alive(pids: list[int]) -> bool:
    return all(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_daemon_that_is_killed_has_its_tasks_started_elsewhere(cluster: Cluster) -> None:
    cluster.kill()
    cluster.start(grace=1)
    cluster.create("web", "--replicas=4")
    cluster.until("web", {"a": 2, "b": 1, "c": 1})
    node = cluster.client.get("/nodes/a")
    lost = [one for one in cluster.tasks("web") if one["NodeID"] == node["ID"]]
    pids = [one["Status"]["ContainerStatus"]["PID"] for one in lost]
    cluster.nodes["a"].kill()
    cluster.until("web", {"b": 2, "c": 2})
    assert alive(pids), "nobody can stop what runs on a node that does not answer"
    assert "Down" in cluster("node", "ls", "--filter=name=a")
    cluster.nodes["a"].start()
    wait_for(lambda: not cluster.containers("a"), PATIENCE)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert cluster.spread("web") == {"b": 2, "c": 2}
    assert "Ready" in cluster("node", "ls", "--filter=name=a")


def test_a_daemon_that_is_back_in_time_keeps_its_tasks(cluster: Cluster) -> None:
    cluster.create("web", "--replicas=3")
    cluster.until("web", {"a": 1, "b": 1, "c": 1})
    before = {one["ID"] for one in cluster.tasks("web")}
    cluster.kill()
    cluster.start()
    cluster.nodes["a"].kill()
    wait_for(lambda: "Message" in cluster.client.get("/nodes/a")["Status"], PATIENCE)
    cluster.nodes["a"].start()
    wait_for(lambda: "Message" not in cluster.client.get("/nodes/a")["Status"], PATIENCE)
    assert {one["ID"] for one in cluster.tasks("web")} == before
    assert cluster.spread("web") == {"a": 1, "b": 1, "c": 1}


def test_the_manager_is_killed_and_services_go_on(cluster: Cluster) -> None:
    cluster.create("web", "--replicas=3")
    cluster.until("web", {"a": 1, "b": 1, "c": 1})
    before = {name: cluster.containers(name) for name in NAMES}
    pids = [one["Status"]["ContainerStatus"]["PID"] for one in cluster.tasks("web")]
    cluster.kill()
    os.kill(pids[0], signal.SIGKILL)  # while nobody looks
    cluster.nodes["a"].docker("wait", *before["a"])
    assert alive(pids[1:])
    cluster.start()
    cluster.until("web", {"a": 1, "b": 1, "c": 1})
    after = {name: cluster.containers(name) for name in NAMES}
    assert (after["b"], after["c"]) == (before["b"], before["c"]), "what ran was left alone"
    assert after["a"] != before["a"]


def test_what_was_ordered_before_the_manager_died_is_done(cluster: Cluster) -> None:
    cluster.create("web", "--replicas=6")
    cluster.kill()
    cluster.start()
    cluster.until("web", {"a": 2, "b": 2, "c": 2})
    assert sum(len(cluster.containers(name)) for name in NAMES) == 6, "none was made twice"


# --- our own commands -----------------------------------------------------------------------------


def own(cluster: Cluster, *words: str) -> str:
    """Our own command, which must succeed."""
    done = subprocess.run(Daemon.command(*words), env=cluster.env, capture_output=True, text=True,
                          timeout=PATIENCE, check=False)  # fmt: skip
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout.strip()


def without_times(text: str) -> list[list[str]]:
    """The words of a table, without how long ago something was: that goes on."""
    ago = r"(\d+|less than a|about a) (second|minute)s? ago"
    return [re.sub(ago, "ago", line).split() for line in text.splitlines()]


def test_our_commands_say_what_dockers_say(cluster: Cluster) -> None:
    own(cluster, "service", "create", "--name=web", "--replicas=2", "--network=host", "--env=A=1",
        "--stop-signal=KILL", "--restart-delay=0s", "busybox", *PROGRAM)  # fmt: skip
    cluster.until("web", {"a": 1, "b": 1})
    for words in (["node", "ls"], ["service", "ls"],
                  ["node", "inspect", "a", "--format={{.Spec.Role}}"],
                  ["service", "inspect", "web", "--format={{.Spec.Name}}"]):  # fmt: skip
        assert own(cluster, *words) == cluster(*words)
    for words in (["service", "ps", "web"], ["service", "ps", "--no-trunc", "web"],
                  ["node", "ps", "a"]):  # fmt: skip
        assert without_times(own(cluster, *words)) == without_times(cluster(*words))
    wait_for(lambda: len(rows(cluster("service", "logs", "web"))) == 2, PATIENCE)
    assert sorted(rows(own(cluster, "service", "logs", "web"))) == sorted(
        rows(cluster("service", "logs", "web"))
    )


def test_our_commands_order_what_dockers_order(cluster: Cluster) -> None:
    own(cluster, "service", "create", "--name=web", "--network=host", "--stop-signal=KILL",
        "--update-monitor=1ms", "--rollback-monitor=1ms", "busybox", *PROGRAM)  # fmt: skip
    assert own(cluster, "service", "scale", "web=3") == "web scaled to 3"
    cluster.until("web", {"a": 1, "b": 1, "c": 1})
    assert own(cluster, "node", "update", "--availability=drain", "--label-add=x=y", "c") == "c"
    cluster.until("web", {"a": 2, "b": 1})
    assert cluster.client.get("/nodes/c")["Spec"]["Labels"] == {"x": "y"}
    own(cluster, "service", "update", "--env-add=A=1", "--label-add=b=2", "web")
    wait_for(lambda: state(cluster) == "completed", PATIENCE)
    spec = cluster.client.get("/services/web")["Spec"]
    assert (spec["TaskTemplate"]["ContainerSpec"]["Env"], spec["Labels"]) == (["A=1"], {"b": "2"})
    own(cluster, "service", "rollback", "web")
    wait_for(lambda: state(cluster) == "rollback_completed", PATIENCE)
    assert own(cluster, "service", "rm", "web") == "web"
    assert own(cluster, "service", "ls", "--quiet") == ""


# --- what is refused ------------------------------------------------------------------------------

REFUSED: list[tuple[str, str]] = [
    ("service create --publish 80:80 busybox", "ingress port: there is no routing mesh here"),
    ("network create --driver overlay net", "overlay network: nodes have no network in common"),
    ("service create --network nope busybox", "nope"),
    ("service create --mode replicated-job busybox", "mode ReplicatedJob: services run until"),
    ("service create --name a.b busybox", "name must be valid as a DNS name component"),
    ("service create --constraint disk==ssd busybox", "constraint 'disk==ssd'"),
    ("service create --placement-pref spread=node.labels.x busybox", "placement preferences"),
    ("service inspect nope", "nope"),
    ("service rm nope", "nope"),
    ("service scale nope=1", "nope: "),
    ("node inspect nope", "nope"),
    ("node update --availability=bad a", 'invalid Availability: "bad"'),
    ("node promote a", "promote: this cluster has one manager"),
    ("node rm a", "nodes are those on the manager's command line"),
    ("swarm init", "this is a cluster already"),
    ("swarm leave", "this manager is a process"),
    ("secret create s -", "the manager keeps none"),
    ("ps", "containers, images and volumes are on the nodes"),
    ("service ls --filter foo=bar", "invalid filter 'foo'"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "told"), REFUSED, ids=[words for words, _ in REFUSED])
def test_what_is_not_here_is_refused_in_one_line(each: Cluster, words: str, told: str) -> None:
    done = each.call(*words.split(), stdin="x")
    assert done.returncode != 0
    assert told.lower() in done.stderr.lower()


def test_an_update_must_name_what_it_changes(cluster: Cluster) -> None:
    cluster.create("web", "--replicas=0")
    found = cluster.client.get("/services/web")
    index = found["Version"]["Index"]
    for version, status in ((index - 1, 500), ("", 400)):
        with pytest.raises(api.ApiError) as error:
            cluster.client.post("/services/web/update", found["Spec"], version=version)
        assert error.value.status == status
    with pytest.raises(api.ApiError, match="service web already exists") as error:
        cluster.client.post("/services/create", found["Spec"])
    assert error.value.status == 409


def test_events_are_told(cluster: Cluster) -> None:
    stream = cluster.client.stream("GET", "/events", filters={"type": ["service"]}, since=0)
    cluster.create("web", "--replicas=0")
    cluster("service", "scale", "--detach", "web=1")
    wanted: Callable[[dict[str, Any]], bool] = lambda event: (  # noqa: E731
        event["Actor"]["Attributes"].get("replicas.new") == "1" and event["scope"] == "swarm"
    )
    assert any(wanted(event) for event in stream)
    stream.close()  # type: ignore[attr-defined]
