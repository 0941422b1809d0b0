"""The hash of a configuration: known ones of Docker Compose, and the JSON that it is made of."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from labcontainer.compose import hashing, labels
from tests.unit.compose_files import of

# From a test of docker/compose, TestCreateMobyContainer: pkg/compose/convergence_test.go.
THEIRS = "8dbce408396f8986266bc5deba0c09cfebac63c95c2238e405c7bee5f1bd84b8"


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_hash_that_docker_compose_made() -> None:
    words = {"networks": {"b": {"priority": 100}, "a": {"priority": 10}}}
    assert hashing.service(words) == THEIRS


def test_what_docker_compose_hashed_before(tmp_path: Path) -> None:
    """`config --hash` of 2.22 for this file, as docker/compose 11145 has it, said 5bc8bc96…: it put
    a part that is empty today before the entrypoint; all else is the same."""
    found = of("services: {hello1: {image: 'alpine:3.13'}}", tmp_path).services["hello1"]
    now = '{"command":null,"entrypoint":null,"image":"alpine:3.13","networks":{"default":null}}'
    then = now.replace(
        '"entrypoint"', '"deploy":{"replicas":1,"resources":{},"placement":{}},"entrypoint"'
    )
    assert hashed(then) == "5bc8bc96d82232fd5546825b6e64c03b2074467edf89dc48be706283b8e4b4d6"
    assert labels.config_hash(found) == hashed(now)


WHOLE = """
services:
  web:
    build: .
    command: [sh, -c, "a < b && c"]
    scale: 2
    profiles: [x]
    depends_on: [db]
    environment: {B: "1", A: null}
    extra_hosts: ["b=1.2.3.4", "a=1.2.3.5"]
    healthcheck: {test: "true", interval: 90s, retries: 0, timeout: 1500ms}
    init: false
    mem_limit: 64m
    ports: ["8080:80"]
    privileged: false
    stop_grace_period: 1h
    ulimits: {nproc: 10, nofile: {soft: 1, hard: 2}}
    volumes: ["data:/d:ro", "/h:/h"]
    deploy: {replicas: 3, resources: {limits: {cpus: 2, memory: 1k}}}
  db: {image: x}
volumes: {data: }
networks: {default: {internal: true, ipam: {config: [{subnet: 10.9.0.0/24}]}}}
"""


def test_the_structures_of_go(tmp_path: Path) -> None:
    project = of(WHOLE, tmp_path)
    web = project.enabled(["x"]).services["web"]
    parts = [
        '"command":["sh","-c","a \\u003c b \\u0026\\u0026 c"]',
        '"deploy":{"resources":{"limits":{"cpus":2,"memory":"1024"}},"placement":{}}',
        '"entrypoint":null',
        '"environment":{"A":null,"B":"1"}',
        '"extra_hosts":["a=1.2.3.5","b=1.2.3.4"]',
        '"healthcheck":{"test":["CMD-SHELL","true"],"timeout":"1.5s","interval":"1m30s","retries":0}',
        '"init":false',
        '"mem_limit":"67108864"',
        '"networks":{"default":null}',
        '"ports":[{"mode":"ingress","target":80,"published":"8080","protocol":"tcp"}]',
        '"stop_grace_period":"1h0m0s"',
        '"ulimits":{"nofile":{"soft":1,"hard":2},"nproc":10}',
        '"volumes":[{"type":"volume","source":"data","target":"/d","read_only":true,"volume":{}}',
        '{"type":"bind","source":"/h","target":"/h","bind":{"create_host_path":true}}]',
    ]  # fmt: skip
    assert labels.config_hash(web) == hashed("{" + ",".join(parts) + "}")
    network = labels.shared(project, project.networks["default"], labels.NETWORK)[labels.HASH]
    assert network == hashed(
        '{"name":"p_default","ipam":{"config":[{"subnet":"10.9.0.0/24"}]},"internal":true}'
    )
    volume = labels.shared(project, project.volumes["data"], labels.VOLUME)[labels.HASH]
    assert volume == hashed('{"name":"p_data","driver":"local"}')


@pytest.mark.parametrize(
    "change", ["build: ..", "scale: 3", "pull_policy: always", "profiles: [y]", "attach: false"]
)
def test_what_makes_no_container_anew(tmp_path: Path, change: str) -> None:
    key = change.partition(":")[0]
    lines = [line for line in WHOLE.splitlines() if not line.startswith(f"    {key}:")]
    changed = "\n".join(lines).replace("  web:\n", f"  web:\n    {change}\n")
    found = [of(text, tmp_path).enabled(["*"]).services["web"] for text in (WHOLE, changed)]
    assert found[0].words != found[1].words
    assert labels.config_hash(found[0]) == labels.config_hash(found[1])
