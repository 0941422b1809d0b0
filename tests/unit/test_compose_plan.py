"""A project against what there is: order, plans, bodies, grants, conditions, without a daemon."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import tarfile
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcontainer import errors
from labcontainer.compose import (
    body,
    building,
    grants,
    graph,
    labels,
    model,
    oneoff,
    plan,
    waiting,
    watching,
)
from labcontainer.compose.model import Dependency, Project, Service
from labcontainer.compose.observed import Container, Containers
from labcontainer.compose.scalars import Tree
from labcontainer.lab.figures_services import service_graph
from tests.unit.compose_files import of, write

# --- order ----------------------------------------------------------------------------------------

names = st.sampled_from("abcdefg")


def services(edges: dict[str, set[str]]) -> dict[str, Service]:
    every = {*edges, *(one for many in edges.values() for one in many)}
    return {
        name: Service(
            name, {}, depends_on=tuple(Dependency(one) for one in sorted(edges.get(name, ())))
        )
        for name in sorted(every)
    }


@given(st.dictionaries(names, st.sets(names, max_size=3), max_size=7))
def test_every_service_stands_behind_what_it_needs_or_a_cycle_is_told(
    edges: dict[str, set[str]],
) -> None:
    every = services(edges)
    try:
        levels = graph.order(every)
    except graph.CycleError as error:
        way = error.way
        assert way[0] == way[-1] and len(way) > 1
        pairs = itertools.pairwise(way)
        assert all(two in edges[one] for one, two in pairs)
        return
    place = {name: at for at, level in enumerate(levels) for name in level}
    assert place.keys() == every.keys()
    for name, others in edges.items():
        assert all(place[other] < place[name] for other in others)
    # As early as it can be: directly behind one that it needs.
    for name, at in place.items():
        assert at == max((place[other] + 1 for other in edges.get(name, ())), default=0)


def test_the_graph_is_data_for_a_drawing(tmp_path: Path) -> None:
    text = """
services:
  web: {image: x, depends_on: {db: {condition: service_healthy}, log: {condition: service_started,
        required: false}}}
  db: {image: x}
  log: {image: x}
"""
    drawn = graph.of(of(text, tmp_path))
    assert drawn.nodes == ("db", "log", "web") and drawn.levels == (("db", "log"), ("web",))
    assert drawn.edges == (
        graph.Edge("web", "db", "service_healthy"),
        graph.Edge("web", "log", "service_started", required=False),
    )


def test_the_drawing_tells_the_same_in_words(tmp_path: Path) -> None:
    web = "web: {image: x, depends_on: {db: {condition: service_healthy}}}"
    project = of(f"services: {{{web}, db: {{image: x}}}}", tmp_path)
    said = service_graph(graph.of(project), {"db": "healthy"}).text
    assert "Service db waits for nothing. Service web waits for db (healthy)." in said
    rows = [line.split() for line in said.splitlines()[-2:]]
    assert rows == [["db", "1", "nothing", "healthy"], ["web", "2", "db", "(healthy)", "-"]]


def test_independent_ones_are_done_side_by_side_and_in_order() -> None:
    both = threading.Barrier(2, timeout=60)  # passes only when two are in it at once
    done: list[str] = []

    def act(name: str) -> None:
        if name in ("a", "b"):
            both.wait()
        done.append(name)

    graph.walk({"c": {"a", "b"}, "a": set(), "b": set(), "d": {"c"}}, act)
    assert set(done[:2]) == {"a", "b"} and done[2:] == ["c", "d"]


def test_after_a_failure_nothing_new_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    futures: dict[str, Future[None]] = {}

    class Pool(ThreadPoolExecutor):
        def submit(self, act: Any, /, *given: Any, **more: Any) -> Any:
            (name,) = given
            futures[name] = super().submit(act, name, **more)
            return futures[name]

    def act(name: str) -> None:
        if name == "a":
            raise errors.StateError("a failed")
        wait([futures["a"]], 60)  # b goes on when a has failed
        done.append(name)

    monkeypatch.setattr(graph, "ThreadPoolExecutor", Pool)
    with pytest.raises(errors.StateError, match="a failed"):
        graph.walk({"c": {"a"}, "a": set(), "b": set(), "d": {"b"}}, act)
    assert done == ["b"]


def test_stopping_is_starting_reversed() -> None:
    every = services({"web": {"db"}, "db": set(), "log": {"web", "db"}})
    done: list[str] = []
    graph.walk(graph.reversed_needs(every), done.append)
    assert done == ["log", "web", "db"]


# --- plans ----------------------------------------------------------------------------------------

TWO = "services: {web: {image: x, scale: 2}, db: {image: x}}"


def there(project: Project, *, state: str = "running", **changes: Any) -> Containers:
    """The containers that a project has after `up`."""
    found: Containers = {}
    for name, service in project.services.items():
        for number in range(1, service.scale + 1):
            hashed = labels.config_hash(service, grants.digests(project, service))
            known = labels.container(project, service, number, hashed)
            networks: Tree = {
                project.networks[key].name: {} for key in service.get("networks") or ()
            }
            raw = {"Labels": known, "ImageID": "sha256:1", "Image": service.image,
                   "NetworkSettings": {"Networks": networks}, **changes}  # fmt: skip
            identity = f"{name}{number}".ljust(64, "0")
            one = Container(identity, f"p-{name}-{number}", name, number, state, raw)
            found.setdefault(name, []).append(one)
    return found


def steps(project: Project, found: Containers, image: str = "sha256:1",
          **wishes: Any) -> list[str]:  # fmt: skip
    made = plan.plan(project, found, {"x": image}, plan.Wishes(**wishes))
    return [str(one) for many in made.values() for one in many]


def test_everything_is_made_where_nothing_is(tmp_path: Path) -> None:
    assert steps(of(TWO, tmp_path), {}) == ["create db-1", "create web-1", "create web-2"]


def test_what_is_as_it_should_be_is_kept(tmp_path: Path) -> None:
    project = of(TWO, tmp_path)
    assert steps(project, there(project)) == ["keep p-db-1", "keep p-web-1", "keep p-web-2"]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ("environment: {A: 1}", False),
        ("labels: {a: b}", False),
        ("restart: always", False),
        ("profiles: []", True),
        ("pull_policy: always", True),
        ("deploy: {replicas: 1}", False),  # a `deploy` is new; its replicas do not count
        ("build: .", True),
        ("develop: {watch: []}", True),
        ("depends_on: [db]", True),
    ],
)
def test_only_what_counts_makes_it_anew(tmp_path: Path, change: str, same: bool) -> None:
    before = of("services: {web: {image: x}, db: {image: x}}", tmp_path)
    after = of(f"services: {{web: {{image: x, {change}}}, db: {{image: x}}}}", tmp_path)
    found = [one for one in steps(after, there(before)) if "web" in one]
    wanted = "keep p-web-1" if same else "recreate p-web-1: its configuration has changed"
    assert found == [wanted]


def test_the_number_of_replicas_does_not_count(tmp_path: Path) -> None:
    one, two = (
        of(f"services: {{web: {{image: x, deploy: {{replicas: {n}}}}}}}", tmp_path) for n in (1, 2)
    )
    assert steps(two, there(one)) == ["keep p-web-1", "create web-2"]


def test_why_it_is_made_anew(tmp_path: Path) -> None:
    project = of("services: {web: {image: x}}", tmp_path)
    found = there(project)
    assert steps(project, found, "sha256:2") == ["recreate p-web-1: its image has changed"]
    assert steps(project, found, recreate=plan.FORCE) == ["recreate p-web-1: forced"]
    assert steps(project, found, "sha256:2", recreate=plan.NEVER) == ["keep p-web-1"]
    network = steps(project, found, fresh=frozenset({"default"}))
    assert network == ["recreate p-web-1: its networks have changed"]
    alone = there(project, NetworkSettings={"Networks": {"other": {}}})
    assert steps(project, alone) == ["recreate p-web-1: its networks have changed"]


def test_force_is_for_those_that_are_named(tmp_path: Path) -> None:
    project = of(TWO, tmp_path)
    wishes: Tree = {"recreate": plan.FORCE, "targets": frozenset({"db"})}
    assert steps(project, there(project), **wishes)[0] == "recreate p-db-1: forced"
    assert steps(project, there(project), **wishes)[1:] == ["keep p-web-1", "keep p-web-2"]


def test_what_shares_a_namespace_follows(tmp_path: Path) -> None:
    text = """
services:
  db: {image: x, environment: {A: VALUE}}
  side: {image: x, network_mode: "service:db"}
  files: {image: x, volumes_from: [side]}
  other: {image: x, depends_on: [db]}
"""
    before = there(of(text, tmp_path))
    after = of(text.replace("VALUE", "2"), tmp_path)
    found = steps(after, before)
    assert found[0] == "recreate p-db-1: its configuration has changed"
    assert set(found[1:]) == {
        "keep p-other-1", "recreate p-side-1: forced", "recreate p-files-1: forced",
    }  # fmt: skip


def test_too_many_go_the_changed_ones_first(tmp_path: Path) -> None:
    project = of("services: {web: {image: x, scale: 3}}", tmp_path)
    found = there(project)
    changed = dataclasses.replace(found["web"][0], raw={"Labels": {}, "ImageID": "sha256:1"})
    found["web"][0] = changed
    fewer = project.scaled({"web": 2})
    assert steps(fewer, found) == ["remove p-web-1: scale", "keep p-web-2", "keep p-web-3"]
    more = project.scaled({"web": 4})
    assert steps(more, found)[-1] == "create web-4"


def test_content_that_is_copied_counts(tmp_path: Path) -> None:
    text = "services: {web: {image: x, configs: [c]}}\nconfigs: {c: {content: VALUE}}"
    before = there(of(text, tmp_path))
    assert steps(of(text, tmp_path), before) == ["keep p-web-1"]
    changed = steps(of(text.replace("VALUE", "other"), tmp_path), before)
    assert changed == ["recreate p-web-1: its configuration has changed"]


# --- bodies ---------------------------------------------------------------------------------------


def made(folder: Path, words: str, more: str = "") -> Tree:
    project = of(f"services:\n  web: {{image: x, {words}}}\n  db: {{image: x}}\n{more}", folder)
    return body.create(project, project.services["web"], 1, there(project))


def test_labels_are_docker_composes(tmp_path: Path) -> None:
    found = made(tmp_path, "labels: {a: b}, depends_on: [db]")["Labels"]
    hashed = found.pop("com.docker.compose.config-hash")
    assert len(hashed) == 64 and found.pop("com.docker.compose.version")
    assert found == {
        "a": "b",
        "com.docker.compose.project": "p",
        "com.docker.compose.service": "web",
        "com.docker.compose.container-number": "1",
        "com.docker.compose.oneoff": "False",
        "com.docker.compose.depends_on": "db:service_started:false",
        "com.docker.compose.project.working_dir": str(tmp_path),
        "com.docker.compose.project.config_files": f"{tmp_path}/compose.yaml",
    }


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ("environment: {A: b, C: }", "Env", ["A=b", "C"]),
        ("command: a b", "Cmd", ["a", "b"]),
        ("expose: ['1-2', '3/udp'], ports: ['9:8']", "ExposedPorts",
         {"8/tcp": {}, "1/tcp": {}, "2/tcp": {}, "3/udp": {}}),
        ("stop_grace_period: 1m30s", "StopTimeout", 90),
        ("healthcheck: {test: a, interval: 1s, retries: 2}", "Healthcheck",
         {"Test": ["CMD-SHELL", "a"], "Interval": 10**9, "Retries": 2}),
        ("healthcheck: {disable: true}", "Healthcheck", {"Test": ["NONE"]}),
    ],
)  # fmt: skip
def test_the_body(tmp_path: Path, words: str, field: str, value: Any) -> None:
    assert made(tmp_path, words)[field] == value


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ("mem_limit: 64m", "Memory", 64 << 20),
        ("cpus: 0.5", "NanoCpus", 5 * 10**8),
        ("cpus: 2, deploy: {resources: {limits: {cpus: 0.5, memory: 1m, pids: 9}}}", "NanoCpus",
         5 * 10**8),
        ("deploy: {resources: {limits: {pids: 9}}}", "PidsLimit", 9),
        ("ports: ['127.0.0.1:8080:80', '81/udp']", "PortBindings",
         {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}],
          "81/udp": [{"HostIp": "", "HostPort": ""}]}),
        ("restart: 'on-failure:3'", "RestartPolicy",
         {"Name": "on-failure", "MaximumRetryCount": 3}),
        ("restart: always", "RestartPolicy", {"Name": "always", "MaximumRetryCount": 0}),
        ("deploy: {restart_policy: {condition: any}}", "RestartPolicy",
         {"Name": "always", "MaximumRetryCount": 0}),
        ("extra_hosts: {a: [1.1.1.1, '::1']}", "ExtraHosts", ["a:1.1.1.1", "a:::1"]),
        ("ulimits: {nofile: {soft: 1, hard: 2}}", "Ulimits",
         [{"Name": "nofile", "Soft": 1, "Hard": 2}]),
        ("tmpfs: ['/t:size=1m']", "Tmpfs", {"/t": "size=1m"}),
        ("network_mode: 'service:db'", "NetworkMode", f"container:{'db1'.ljust(64, '0')}"),
        ("network_mode: host", "NetworkMode", "host"),
        ("pid: 'service:db'", "PidMode", f"container:{'db1'.ljust(64, '0')}"),
        ("security_opt: ['seccomp=unconfined', 'systempaths=unconfined']", "SecurityOpt",
         ["seccomp=unconfined"]),
        ("logging: {driver: json-file, options: {max-size: 1m, max-file: 2}}", "LogConfig",
         {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}}),
        ("blkio_config: {weight: 5, device_read_bps: [{path: /d, rate: 1k}]}", "BlkioDeviceReadBps",
         [{"Path": "/d", "Rate": 1024}]),
        ("init: true", "Init", True),
    ],
)  # fmt: skip
def test_the_host_config(tmp_path: Path, words: str, field: str, value: Any) -> None:
    assert made(tmp_path, words)["HostConfig"][field] == value


def test_mounts(tmp_path: Path) -> None:
    words = """volumes: ['./d:/d:ro', 'data:/x', /anon, {type: tmpfs, target: /t},
      {type: bind, source: ./e, target: /e, bind: {create_host_path: false}}], secrets: [s]"""
    more = "volumes: {data: {name: real}}\nsecrets: {s: {file: ./s}}"
    write(tmp_path, {"s": "secret"})
    host = made(tmp_path, words, more)["HostConfig"]
    assert host["Binds"] == [f"{tmp_path}/d:/d:ro", "real:/x:rw"]
    assert host["Mounts"] == [
        {"Type": "volume", "Target": "/anon"},
        {"Type": "tmpfs", "Target": "/t"},
        {"Type": "bind", "Target": "/e", "Source": f"{tmp_path}/e"},
        {"Type": "bind", "Source": f"{tmp_path}/s", "Target": "/run/secrets/s", "ReadOnly": True},
    ]


def test_anonymous_volumes_go_over_to_the_next_container(tmp_path: Path) -> None:
    project = of("services: {web: {image: x, volumes: [/anon, /new]}}", tmp_path)
    inherited = {"/anon": "a" * 64, "/of-image": "b" * 64}
    host = body.create(project, project.services["web"], 1, {}, inherited)["HostConfig"]
    assert host["Binds"] == [f"{'a' * 64}:/anon:rw"]
    assert host["Mounts"] == [
        {"Type": "volume", "Target": "/new"},
        {"Type": "volume", "Source": "b" * 64, "Target": "/of-image"},
    ]


def test_networks_and_names_in_them(tmp_path: Path) -> None:
    text = """
services:
  web: {image: x, networks: {back: , front: {aliases: [www], priority: 5, ipv4_address: 10.0.0.9}},
        links: ["db:sql"]}
  db: {image: x, networks: [back]}
networks: {front: , back: }
"""
    project = of(text, tmp_path)
    web, found = project.services["web"], there(project)
    assert body.network_mode(project, web, found) == "p_front"
    places = body.endpoints(project, web, "p-web-1", found)
    assert list(places) == ["p_front", "p_back"]
    assert places["p_front"]["Aliases"] == ["p-web-1", "web", "www"]
    assert places["p_front"]["IPAMConfig"] == {"IPv4Address": "10.0.0.9"}
    assert places["p_back"]["Links"] == ["p-db-1:sql"]


def test_a_namespace_of_a_service_without_containers(tmp_path: Path) -> None:
    text = "services: {web: {image: x, network_mode: 'service:db'}, db: {image: x}}"
    project = of(text, tmp_path)
    with pytest.raises(errors.StateError, match="cannot share network namespace with service db"):
        body.create(project, project.services["web"], 1, {})


def test_run_leaves_ports_and_restarts_and_takes_flags(tmp_path: Path) -> None:
    words = "ports: ['1:1'], restart: always, environment: {A: 1, B: 1}, cap_add: [X], user: a"
    service = of(f"services: {{web: {{image: x, {words}}}}}", tmp_path).services["web"]
    asked = oneoff.Asked(command=("sh",), environment={"B": "2"}, cap_drop=("X",), user="me",
                         volumes=("/h:/c",), publish=("8:9",), entrypoint="")  # fmt: skip
    found = oneoff.service_for(service, asked).words
    assert "restart" not in found and found["command"] == ["sh"] and found["entrypoint"] == []
    assert found["ports"] == [{"mode": "ingress", "protocol": "tcp", "target": 9, "published": "8"}]
    assert found["environment"] == {"A": "1", "B": "2"} and found["user"] == "me"
    assert (found["cap_add"], found["cap_drop"]) == ([], ["X"])
    kept = oneoff.service_for(service, oneoff.Asked(service_ports=True)).words
    assert kept["ports"][0]["published"] == "1" and "entrypoint" not in kept


# --- secrets and configs --------------------------------------------------------------------------


def test_grants_are_bound_or_copied(tmp_path: Path) -> None:
    text = """
services:
  web:
    image: x
    secrets: [file, {source: env, target: other},
              {source: file, target: /own, mode: 0400, uid: "7"}]
    configs: [text, {source: text, target: /etc/x}]
secrets: {file: {file: ./f}, env: {environment: PATHLIKE}}
configs: {text: {content: "hello"}}
"""
    write(tmp_path, {"f": "secret"})
    project = dataclasses.replace(of(text, tmp_path), environment={"PATHLIKE": "value"})
    web = project.services["web"]
    assert [one["Target"] for one in grants.mounts(project, web)] == ["/run/secrets/file"]
    copied = {one.target: one for one in grants.copies(project, web)}
    assert {target: one.data for target, one in copied.items()} == {
        "/run/secrets/other": b"value", "/own": b"secret", "/text": b"hello", "/etc/x": b"hello",
    }  # fmt: skip
    assert (copied["/own"].uid, copied["/own"].mode) == (7, 0o400)
    with tarfile.open(fileobj=io.BytesIO(grants.archive(list(copied.values())))) as tar:
        members = {one.name: (one.uid, one.mode, one.size) for one in tar}
    assert members["own"] == (7, 0o400, 6) and members["run/secrets/other"] == (0, 0o444, 5)


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ("{external: true}", "external secret s: only a swarm has such"),
        ("{environment: NOT_SET}", "secret s: environment variable NOT_SET is not set"),
        ("{file: ./gone}", "secret s: .*/gone does not exist"),
    ],
)
def test_grants_that_can_not_be_had(tmp_path: Path, how: str, problem: str) -> None:
    text = f"services: {{web: {{image: x, secrets: [s]}}}}\nsecrets: {{s: {how}}}"
    project = of(text, tmp_path)
    with pytest.raises(errors.LabError, match=problem):
        body.create(project, project.services["web"], 1, {})


# --- conditions -----------------------------------------------------------------------------------


def state(status: str, health: str = "", code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = {"Status": status, "Running": status == "running", "ExitCode": code}
    return found | ({"Health": {"Status": health}} if health else {})


@pytest.mark.parametrize(
    ("condition", "now", "result"),
    [
        (model.HEALTHY, state("created"), False),
        (model.HEALTHY, state("running", "starting"), False),
        (model.HEALTHY, state("running", "healthy"), True),
        (model.HEALTHY, state("running", "unhealthy"), "container c is unhealthy"),
        (model.HEALTHY, state("running"), "container c has no healthcheck configured"),
        (model.HEALTHY, state("exited", code=3), "container c exited (3)"),
        (model.HEALTHY, None, "container c is gone"),
        (model.COMPLETED, state("running"), False),
        (model.COMPLETED, state("exited"), True),
        (model.COMPLETED, state("exited", code=3),
         "service 's' didn't complete successfully: exit 3"),
        (model.STARTED, state("created"), False),
        (model.STARTED, state("running"), True),
        (waiting.RUNNING_OR_HEALTHY, state("running"), True),
        (waiting.RUNNING_OR_HEALTHY, state("running", "starting"), False),
        (waiting.RUNNING_OR_HEALTHY, state("exited"), "container c exited (0)"),
    ],
)  # fmt: skip
def test_conditions(condition: str, now: dict[str, Any] | None, result: bool | str) -> None:
    if isinstance(result, bool):
        assert waiting.met(condition, "s", "c", now) is result
    else:
        with pytest.raises(waiting.ConditionError) as caught:
            waiting.met(condition, "s", "c", now)
        assert str(caught.value) == result


def test_whose_end_is_waited_for(tmp_path: Path) -> None:
    text = """
services:
  web: {image: x, depends_on: {job: {condition: service_completed_successfully}}}
  job: {image: x}
"""
    project = of(text, tmp_path)
    assert waiting.wanted(project, "job") == model.COMPLETED
    assert waiting.wanted(project, "web") == waiting.RUNNING_OR_HEALTHY


# --- builds and watches ---------------------------------------------------------------------------


def members(folder: Path, words: Tree) -> tuple[str, dict[str, bytes]]:
    name, pieces = building.context({"context": str(folder), **words})
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        found = {}
        for one in tar:
            file = tar.extractfile(one) if one.isreg() else None
            found[one.name] = file.read() if file else b""
            assert (one.uid, one.gid, one.uname) == (0, 0, "")
        return name, found


def test_the_context_is_what_dockerignore_leaves(tmp_path: Path) -> None:
    files = {"Dockerfile": "FROM x", "a.log": "", "b/c.log": "", "b/keep.log": "", "b/d": "d",
             ".dockerignore": "**/*.log\n!b/keep.log\nDockerfile\n"}  # fmt: skip
    write(tmp_path, files)
    name, found = members(tmp_path, {"dockerfile": "Dockerfile"})
    assert name == "Dockerfile"
    assert set(found) == {".dockerignore", "Dockerfile", "b", "b/d", "b/keep.log"}


def test_a_dockerfile_from_elsewhere_or_in_the_file(tmp_path: Path) -> None:
    write(tmp_path, {"context/a": "", "Other": "FROM other"})
    name, found = members(tmp_path / "context", {"dockerfile": "../Other"})
    assert found[name] == b"FROM other" and "a" in found
    name, found = members(tmp_path / "context", {"dockerfile_inline": "FROM inline"})
    assert found[name] == b"FROM inline"
    with pytest.raises(errors.NotFoundError, match="failed to read dockerfile"):
        members(tmp_path / "context", {"dockerfile": "Gone"})


def test_the_query_of_a_build(tmp_path: Path) -> None:
    words = (
        "build: {context: ., args: {A: 1}, target: t, tags: [y], cache_from: [z], network: host}"
    )
    project = of(f"services: {{web: {{{words}}}}}", tmp_path)
    found = building.options(project, project.services["web"], no_cache=True, pull=False,
                             arguments={"B": "2"})  # fmt: skip
    assert found["t"] == ["p-web", "y"] and found["buildargs"] == {"A": "1", "B": "2"}
    assert found["target"] == "t" and found["networkmode"] == "host" and found["nocache"]
    assert json.loads(found["cachefrom"]) == ["z"]
    assert found["labels"]["com.docker.compose.service"] == "web"


def rule(folder: Path, words: str) -> watching.Rule:
    text = f"services: {{web: {{build: ., develop: {{watch: [{{path: ./src, {words}}}]}}}}}}"
    return watching.rules(of(text, folder).services["web"])[0]


def test_which_files_a_rule_is_about(tmp_path: Path) -> None:
    found = rule(tmp_path, "action: sync, target: /app, ignore: [node_modules/, '*.tmp']")
    src = f"{tmp_path}/src"
    assert found.fits(f"{src}/a/b.js") and found.place(f"{src}/a/b.js") == "/app/a/b.js"
    for name in ("node_modules/x/y", "a.tmp", ".git/HEAD", "b.swp", "a~"):
        assert not found.fits(f"{src}/{name}"), name
    assert not found.fits(f"{tmp_path}/src2/a") and not found.fits(f"{tmp_path}/other")
    only = rule(tmp_path, "action: sync, target: /app, include: ['*.py']")
    assert only.fits(f"{src}/a.py") and not only.fits(f"{src}/a.js")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("action: sync", "sync needs a target"),
        ("action: sync+exec, target: /x", "needs an exec"),
    ],
)
def test_rules_that_can_not_be(tmp_path: Path, words: str, problem: str) -> None:
    with pytest.raises(errors.UsageError, match=problem):
        rule(tmp_path, words)


def test_what_is_copied_by_a_sync(tmp_path: Path) -> None:
    write(tmp_path, {"src/a": "A", "src/sub/b": "B"})
    found = rule(tmp_path, "action: sync, target: /app")
    gone = f"{tmp_path}/src/removed-since"
    data = watching.archive(found, [f"{tmp_path}/src/a", gone, f"{tmp_path}/src/sub/b"])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == ["app/a", "app/sub/b"]


def test_what_changes_once_watching_is_told_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"src/a": "", "Dockerfile": "FROM x"})
    text = "services: {web: {build: ., develop: {watch: [{path: src, action: restart}]}}}"
    seen: list[str] = []

    def handle(*given: Any) -> None:
        seen.extend(given[3])
        raise KeyboardInterrupt

    monkeypatch.setattr(watching, "handle", handle)
    nobody: Any = None
    change = (tmp_path / "src/new").touch
    watching.run(nobody, of(text, tmp_path), nobody, change)
    assert seen == [f"{tmp_path}/src/new"]
