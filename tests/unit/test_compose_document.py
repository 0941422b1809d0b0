"""A Compose file as data: words by YAML 1.2, keys once, lines of keys, short forms written out."""

from __future__ import annotations

from typing import Any

import pytest

from labcontainer import errors
from labcontainer.compose import canonical, document, schema
from labcontainer.compose.scalars import Tree


def long_form(text: str) -> Tree:
    found = document.parse(text, "c.yaml")
    schema.check(found)
    return canonical.document(found, "/project")


def service(words: str) -> Tree:
    found: Tree = long_form(f"services:\n  web: {{image: x, {words}}}")["services"]["web"]
    return found


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("22:22", "22:22"), ("yes", "yes"), ("on", "on"), ("2026-01-02", "2026-01-02"),
        ("1_000", "1_000"), ("true", True), ("False", False), ("~", None), ("", None),
        ("0440", 0o440), ("0o17", 15), ("08", 8), ("0x1f", 31), ("-7", -7), ("1.5", 1.5),
        ("1e3", 1000.0), (".inf", float("inf")), ("1.2.3", "1.2.3"), ("'12'", "12"),
        ("!!str 12", "12"), ("!!int 12", 12), ("0", 0), ("+1", 1), ("<", "<"),
    ],
)  # fmt: skip
def test_words_are_read_by_yaml_1_2(word: str, value: Any) -> None:
    assert document.parse(f"a: {word}", "c.yaml").data == {"a": value}


def test_anchors_and_merge_keys() -> None:
    text = """
x-one: &one {a: 1, b: 1}
x-two: &two {b: 2, c: 2}
both: {<<: [*one, *two], a: 0}
first: {a: 0, <<: *one}
again: *two
quoted: {"<<": 1}
"""
    data = document.parse(text, "c.yaml").data
    assert data["both"] == {"a": 0, "b": 1, "c": 2}
    assert data["first"] == {"a": 0, "b": 1}
    assert data["again"] == {"b": 2, "c": 2}
    assert data["quoted"] == {"<<": 1}


def test_every_key_knows_its_line() -> None:
    text = "x: &x\n  a: 1\n  b: 2\nservices:\n  web:\n    <<: *x\n    b: 3\n    list:\n    - one\n"
    found = document.parse(text, "c.yaml")
    path = ("services", "web")
    assert found.lines[path] == 5
    assert found.lines[(*path, "a")] == 2  # where the merged key really stands
    assert found.lines[(*path, "b")] == 7
    assert found.place((*path, "list", 0)) == "c.yaml:9"
    assert found.place((*path, "nothing", "at", "all")) == "c.yaml:5"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("services:\n  a: 1\n  a: 2\n", 'c.yaml:3: mapping key "a" already defined at line 2'),
        ("a: [1", "c.yaml:2: yaml: did not find expected ',' or ']'"),
        ("- 1", "c.yaml:1: top-level object must be a mapping"),
        ("", "c.yaml: empty compose file"),
        ("a: &x {b: *x}", "c.yaml:1: an alias inside of its own anchor"),
        ("a: &x\n  <<: *x\n", "c.yaml:1: an alias inside of its own anchor"),
        ("a: !foo 1", "c.yaml:1: unknown tag !foo"),
        ("a: {<<: 1}", "c.yaml:1: map merge requires map or sequence of maps as the value"),
        ("a: !!int x", "c.yaml:1: 'x' is no int"),
        ("? [a]\n: b", "c.yaml:1: a key must be a word"),
    ],
)
def test_what_is_no_compose_file(text: str, words: str) -> None:
    with pytest.raises(errors.SpecError) as caught:
        document.parse(text, "c.yaml")
    assert str(caught.value).startswith(words)


def test_aliases_do_not_grow_without_end() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(errors.SpecError, match="more than 100000 values"):
        document.parse("\n".join(lines), "c.yaml")


# --- the schema -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "services:\n  web:\n    image: x\n    prots: [1]\n",
            (
                "c.yaml:4: services.web.prots: additional properties 'prots' not allowed; "
                "did you mean 'ports'?"
            ),
        ),
        ("foo: 1\n", "c.yaml:1: foo: additional properties 'foo' not allowed"),
        ("services:\n  web:\n    ports: 80\n", "c.yaml:3: services.web.ports: must be a list"),
        ("services:\n  a:\n", "c.yaml:2: services.a: must be a mapping"),
        (
            "services: {a: {ports: [80, {target: 1, foo: 2}]}}",
            "c.yaml:1: services.a.ports[1].foo: additional properties 'foo' not allowed",
        ),
        (
            "services: {a: {depends_on: {b: {}}}}",
            "c.yaml:1: services.a.depends_on.b: missing property 'condition'",
        ),
        (
            "services: {a: {depends_on: {b: {condition: up}}}}",
            (
                "c.yaml:1: services.a.depends_on.b.condition: must be one of service_started, "
                "service_healthy, service_completed_successfully"
            ),
        ),
        (
            "services: {a: {healthcheck: {retries: []}}}",
            "c.yaml:1: services.a.healthcheck.retries: must be a number or a string",
        ),
        ("services: {a: {cap_add: [A, A]}}", "c.yaml:1: services.a.cap_add: has an item twice"),
        ("services: {'a b': {}}", "c.yaml:1: services: 'a b' does not match ^[a-zA-Z0-9._-]+$"),
        (
            "services: {a: {environment: {A: [1]}}}",
            (
                "c.yaml:1: services.a.environment.A: must be a string, a number, true or false or "
                "empty"
            ),
        ),
    ],
)
def test_errors_name_file_line_and_key(text: str, words: str) -> None:
    with pytest.raises(errors.SpecError) as caught:
        schema.check(document.parse(text, "c.yaml"))
    assert str(caught.value) == words


def test_the_first_of_several_errors_is_told() -> None:
    text = "services:\n  a: {image: x}\n  b: {one: 1}\n  c: {two: 2}\n"
    with pytest.raises(errors.SpecError, match=r"c\.yaml:3: services\.b\.one"):
        schema.check(document.parse(text, "c.yaml"))


def test_extensions_are_allowed_everywhere() -> None:
    schema.check(document.parse("x-a: 1\nservices: {a: {x-b: 2, build: {x-c: 3}}}", "c.yaml"))


# --- long forms -----------------------------------------------------------------------------------


def port(target: int, published: str = "", protocol: str = "tcp", ip: str = "") -> Tree:
    found: Tree = {"mode": "ingress", "protocol": protocol, "target": target}
    return found | ({"published": published} if published else {}) | ({"host_ip": ip} if ip else {})


@pytest.mark.parametrize(
    ("word", "ports"),
    [
        ("80", [port(80)]),
        ("3000-3001", [port(3000), port(3001)]),
        ("'8080:80'", [port(80, "8080")]),
        ("'8080-8081:80-81/udp'", [port(80, "8080", "udp"), port(81, "8081", "udp")]),
        ("'8000-9000:80'", [port(80, "8000-9000")]),
        ("'127.0.0.1:8080:80'", [port(80, "8080", ip="127.0.0.1")]),
        ("'127.0.0.1::80'", [port(80, ip="127.0.0.1")]),
        ("'[::1]:8080:80'", [port(80, "8080", ip="::1")]),
        ("{target: '80', published: 8080}", [port(80, "8080")]),
    ],
)
def test_ports(word: str, ports: list[Tree]) -> None:
    assert service(f"ports: [{word}]")["ports"] == ports


@pytest.mark.parametrize("word", ["'a:80'", "'1-3:1-2'", "'2-1'", "'99999'", "'80:'"])
def test_ports_that_are_none(word: str) -> None:
    with pytest.raises(errors.SpecError, match=r"c\.yaml:2: services\.web\.ports\[0\]"):
        service(f"ports: [{word}]")


def test_mounts() -> None:
    words = "volumes: ['./d:/d:ro,z', data:/x:nocopy, /anonymous, {type: tmpfs, target: /t, "
    found = service(words + "tmpfs: {size: 1m, mode: '755'}}, {type: bind, source: ., target: /e}]")
    here, data, anonymous, tmpfs, long = found["volumes"]
    assert here == {
        "type": "bind", "source": "/project/d", "target": "/d", "read_only": True,
        "bind": {"selinux": "z", "create_host_path": True},
    }  # fmt: skip
    assert data == {"type": "volume", "source": "data", "target": "/x", "volume": {"nocopy": True}}
    assert anonymous == {"type": "volume", "target": "/anonymous"}
    assert tmpfs["tmpfs"] == {"size": 1 << 20, "mode": 0o755}
    assert long["source"] == "/project"


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        ("command: a 'b c'", "command", ["a", "b c"]),
        ("entrypoint: []", "entrypoint", []),
        ("environment: [A=b=c, D]", "environment", {"A": "b=c", "D": None}),
        ("environment: {A: true, B: 1.0, C: }", "environment", {"A": "true", "B": "1", "C": None}),
        ("labels: [a, b=c]", "labels", {"a": "", "b": "c"}),
        ("depends_on: [a]", "depends_on",
         {"a": {"condition": "service_started", "required": True}}),
        ("networks: [a]", "networks", {"a": None}),
        ("dns: 1.1.1.1", "dns", ["1.1.1.1"]),
        ("extra_hosts: ['a:1.1.1.1', 'b=::1']", "extra_hosts", {"a": ["1.1.1.1"], "b": ["::1"]}),
        ("healthcheck: {test: curl x}", "healthcheck", {"test": ["CMD-SHELL", "curl x"]}),
        ("ulimits: {nofile: 5, nproc: {soft: 1, hard: 2}}", "ulimits",
         {"nofile": {"soft": 5, "hard": 5}, "nproc": {"soft": 1, "hard": 2}}),
        ("mem_limit: 64m", "mem_limit", 64 << 20),
        ("memswap_limit: -1", "memswap_limit", -1),
        ("privileged: 'true'", "privileged", True),
        ("scale: '3'", "scale", 3),
        ("build: .", "build", {"context": "/project"}),
        ("build: {context: https://x/y.git}", "build", {"context": "https://x/y.git"}),
        ("env_file: [a, {path: b, required: false}]", "env_file",
         [{"path": "/project/a", "required": True}, {"path": "/project/b", "required": False}]),
        ("secrets: [{source: a, mode: 0440}, b]", "secrets",
         [{"source": "a", "mode": 0o440}, {"source": "b"}]),
        ("devices: ['/dev/a', '/dev/b:/dev/c:r']", "devices",
         [{"source": "/dev/a", "target": "/dev/a", "permissions": "rwm"},
          {"source": "/dev/b", "target": "/dev/c", "permissions": "r"}]),
        ("extends: other", "extends", {"service": "other"}),
    ],
)  # fmt: skip
def test_long_forms(words: str, key: str, value: Any) -> None:
    assert service(words)[key] == value


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ('command: "a \'b"', 'command: "a \'b" is no command line: No closing quotation'),
        ("tty: maybe", "tty: 'maybe' is neither true nor false"),
        ("scale: many", "scale: 'many' is no whole number"),
        ("mem_limit: big", "mem_limit: 'big' is no size such as 64m"),
        ("stop_grace_period: soon", "stop_grace_period: 'soon' is no length of time"),
        ("volumes: ['a:b:c:d']", "volumes[0]: invalid spec 'a:b:c:d'"),
        ("volumes: ['a:/b:what']", "volumes[0]: invalid spec 'a:/b:what': unknown option 'what'"),
        ("extra_hosts: [a]", "extra_hosts: 'a' is no NAME=IP"),
        ("healthcheck: {test: [curl]}", "healthcheck.test: begins with 'curl'"),
        ("build: {dockerfile: a, dockerfile_inline: b}", "build: can't have both"),
    ],
)
def test_words_that_mean_nothing(words: str, problem: str) -> None:
    with pytest.raises(errors.SpecError) as caught:
        service(words)
    assert str(caught.value).startswith(f"c.yaml:2: services.web.{problem}")
