"""Specifications checked and read; a task as a container; a container as a task's state."""

from __future__ import annotations

from typing import Any

import pytest

from labcontainer import errors
from labcontainer.cluster import containers, specification
from labcontainer.cluster.containers import Names
from labcontainer.cluster.placement import Reserve, Restart, Update
from labcontainer.cluster.state import ServiceRecord, State

NAMES = Names("web", "s1", "alpha", "n1", "t1", "2")


def spec(**more: Any) -> dict[str, Any]:
    return {"Name": "web", "TaskTemplate": {"ContainerSpec": {"Image": "busybox"}}, **more}


def container(**fields: Any) -> dict[str, Any]:
    return {"ContainerSpec": {"Image": "busybox", **fields}}


def test_a_bare_specification_has_dockers_defaults() -> None:
    found = specification.record(ServiceRecord("s1", spec=spec()))
    assert (found.replicas, found.reserve, found.constraints) == (1, Reserve(), ())
    assert found.restart == Restart("any", 5.0, 0) and found.update == Update()


def test_all_that_decisions_are_made_on_is_read() -> None:
    task = {
        **container(),
        "Resources": {"Reservations": {"MemoryBytes": 1 << 20, "NanoCPUs": 5 * 10**8}},
        "Placement": {"Constraints": ["node.role==worker"], "MaxReplicas": 2},
        "RestartPolicy": {"Condition": "on-failure", "Delay": 2 * 10**9, "MaxAttempts": 3},
    }
    ports = [{"TargetPort": 80, "PublishedPort": 8080, "Protocol": "tcp", "PublishMode": "host"}]
    rules = {"Parallelism": 2, "Delay": 10**9, "Order": "start-first", "Monitor": 10**9,
             "FailureAction": "rollback", "MaxFailureRatio": 0.5}  # fmt: skip
    given = spec(TaskTemplate=task, UpdateConfig=rules, EndpointSpec={"Ports": ports},
                 Mode={"Replicated": {"Replicas": 7}})  # fmt: skip
    specification.check(given)
    found = specification.record(ServiceRecord("s1", spec=given, version=3))
    assert found.replicas == 7 and found.version == 3 and found.max_per_node == 2
    assert found.reserve == Reserve(1 << 20, 0.5) and found.ports == ("8080/tcp",)
    assert found.constraints == ("node.role==worker",)
    assert found.restart == Restart("on-failure", 2.0, 3)
    assert found.update == Update(2, 1.0, "start-first", "rollback", 0.5, 1.0)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"Name": "web"}, "mismatched Runtime"),
        (spec(Name="a b"), "name must be valid"),
        (spec(TaskTemplate={"ContainerSpec": {"Args": ["x"]}}), "image reference must be provided"),
        (spec(Mode={"Replicated": {"Replicas": -1}}), "no number"),
        (spec(UpdateConfig={"Order": "sideways"}), "unrecognized update order"),
        (spec(UpdateConfig={"FailureAction": "cry"}), "unrecognized update failure action"),
        (spec(TaskTemplate={**container(), "RestartPolicy": {"Condition": "x"}}), "RestartCond"),
    ],
)
def test_what_is_wrong_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(errors.UsageError, match=words):
        specification.check(given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (spec(Mode={"GlobalJob": {}}), "mode GlobalJob"),
        (spec(EndpointSpec={"Ports": [{"TargetPort": 80}]}), "ingress port"),
        (spec(TaskTemplate={**container(), "Networks": [{"Target": "n"}]}), "overlay network"),
        (spec(TaskTemplate=container(Secrets=[{"SecretName": "x"}])), "secrets"),
        (spec(TaskTemplate={**container(), "RestartPolicy": {"Window": 1}}), "restart window"),
    ],
)
def test_what_is_not_here_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(errors.UnsupportedError, match=words):
        specification.check(given)


def test_a_task_becomes_a_container() -> None:
    template = {
        **container(
            Command=["sh"], Args=["-c", "true"], Env=["SLOT={{.Task.Slot}}"], User="1000",
            Hostname="{{.Service.Name}}-{{.Node.Hostname}}", Dir="/tmp", Labels={"a": "b"},
            Hosts=["10.0.0.1 one two"], StopGracePeriod=3 * 10**9, Init=True,
            DNSConfig={"Nameservers": ["1.1.1.1"]}, Isolation="default",
        ),
        "Resources": {"Limits": {"MemoryBytes": 1 << 20}},
        "Networks": [{"Target": "host"}],
    }  # fmt: skip
    ports = [{"TargetPort": 80, "PublishedPort": 8080}]
    body = containers.create_body(template, ports, NAMES)
    host = body.pop("HostConfig")
    labels = body.pop("Labels")
    assert body == {"Image": "busybox", "Entrypoint": ["sh"], "Cmd": ["-c", "true"],
                    "Env": ["SLOT=2"], "User": "1000", "Hostname": "web-alpha",
                    "WorkingDir": "/tmp", "ExposedPorts": {"80/tcp": {}}}  # fmt: skip
    assert labels["a"] == "b" and labels["com.docker.swarm.task.name"] == NAMES.task == "web.2.t1"
    assert host == {"ExtraHosts": ["one:10.0.0.1", "two:10.0.0.1"], "Dns": ["1.1.1.1"],
                    "Init": True, "Memory": 1 << 20, "NanoCpus": 0, "PidsLimit": None,
                    "NetworkMode": "host",
                    "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}}  # fmt: skip
    assert containers.stop_seconds(template) == 3


def test_a_field_that_is_not_known_is_refused_by_name() -> None:
    with pytest.raises(errors.UnsupportedError, match=r"ContainerSpec\.Surprise"):
        containers.create_body(container(Surprise=1), [], NAMES)


@pytest.mark.parametrize(
    ("state", "wanted", "error"),
    [
        ({"Running": True, "Status": "running"}, "running", ""),
        ({"Running": True, "Health": {"Status": "starting"}}, "starting", ""),
        ({"Running": True, "Health": {"Status": "healthy"}}, "running", ""),
        (
            {"Running": True, "Health": {"Status": "unhealthy"}},
            "failed",
            "task: unhealthy container",
        ),
        ({"Status": "created"}, "preparing", ""),
        ({"Status": "exited", "ExitCode": 0}, "complete", ""),
        ({"Status": "exited", "ExitCode": 3}, "failed", "task: non-zero exit (3)"),
    ],
)
def test_a_container_says_how_its_task_is(state: dict[str, Any], wanted: str, error: str) -> None:
    labels = {"com.docker.swarm.task.id": "t1"}
    found = containers.seen({"Id": "c1", "State": state, "Config": {"Labels": labels}})
    assert (found.task, found.container, found.state, found.error) == ("t1", "c1", wanted, error)
    assert found.runs == bool(state.get("Running"))


def test_what_is_remembered_is_found_again(tmp_path: Any) -> None:
    state = State(f"{tmp_path}/home/state.db")
    state.save(ServiceRecord("abc1", spec=spec()))
    state.save(ServiceRecord("abd2", spec=spec(Name="db")))
    index, cluster = state.index, state.id
    state.close()
    again = State(f"{tmp_path}/home/state.db")
    assert (again.index, again.id) == (index, cluster)
    assert again.service("web") is again.service("abc1") is again.service("abc")
    with pytest.raises(errors.UsageError, match="ambiguous"):
        again.service("ab")
    with pytest.raises(errors.NotFoundError, match="service nope not found"):
        again.service("nope")
    with pytest.raises(errors.ExistsError):
        again.save(ServiceRecord("x", spec=spec()))
    again.remove(again.service("db"))
    again.close()
    last = State(f"{tmp_path}/home/state.db")
    assert list(last.services) == ["abc1"]
    last.close()
