"""From files to a project: where they come from, merging, include, extends, defaults, checks."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from labcontainer import errors
from labcontainer.compose import labels, merging, showing
from labcontainer.compose.scalars import Tree
from tests.unit.compose_files import load, write

ONE = "services: {web: {image: x}}"


# --- sources --------------------------------------------------------------------------------------


def test_the_usual_file_is_found_here_and_above_with_its_override(tmp_path: Path) -> None:
    write(tmp_path, {"compose.yaml": ONE, "compose.override.yaml": "services: {web: {user: me}}"})
    inside = tmp_path / "a/b"
    inside.mkdir(parents=True)
    project = load(inside, {})
    assert project.directory == str(tmp_path)
    assert project.services["web"].words["user"] == "me"


def test_files_that_are_named_have_no_override(tmp_path: Path) -> None:
    files = {"a.yaml": ONE, "compose.override.yaml": "services: {web: {user: me}}"}
    assert "user" not in load(tmp_path, files, "a.yaml").services["web"].words


def test_files_of_the_environment(tmp_path: Path) -> None:
    files = {"a.yaml": ONE, "b.yaml": "services: {web: {user: me}}"}
    for env in ({"COMPOSE_FILE": "a.yaml:b.yaml"},
                {"COMPOSE_FILE": "a.yaml,b.yaml", "COMPOSE_PATH_SEPARATOR": ","}):  # fmt: skip
        assert load(tmp_path, files, env=env).services["web"].words["user"] == "me"


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(errors.NotFoundError, match="no configuration file provided: not found"):
        load(tmp_path, {})
    with pytest.raises(errors.NotFoundError, match=r"gone\.yaml: there is no such Compose file"):
        load(tmp_path, {}, "gone.yaml")


def test_variables_come_from_the_environment_then_from_files(tmp_path: Path) -> None:
    text = "services: {web: {image: '${A}-${B:-none}-${C:-none}'}}"
    files = {"compose.yaml": text, ".env": "A=env\nB=env", "other": "C=other\nA=other"}
    assert load(tmp_path, files).services["web"].image == "env-env-none"
    assert load(tmp_path, files, env={"A": "own"}).services["web"].image == "own-env-none"
    found = load(tmp_path, files, env_files=(str(tmp_path / "other"),))
    assert found.services["web"].image == "other-none-other"
    env = {"COMPOSE_DISABLE_ENV_FILE": "1"}
    assert load(tmp_path, files, env=env).services["web"].image == "-none-none"


def test_unset_variables_are_told_once(tmp_path: Path) -> None:
    told: list[str] = []
    load(tmp_path, "services: {web: {image: x, user: $U, hostname: $U}}", warnings=told)
    assert told == ['The "U" variable is not set. Defaulting to a blank string.']


@pytest.mark.parametrize(
    ("asked", "env", "text", "name"),
    [
        ("given", {"COMPOSE_PROJECT_NAME": "env"}, f"name: file\n{ONE}", "given"),
        ("", {"COMPOSE_PROJECT_NAME": "env"}, f"name: file\n{ONE}", "env"),
        ("", {"N": "var"}, f"name: file-$N\n{ONE}", "file-var"),
        ("", {}, ONE, "myproject_1"),
    ],
)
def test_the_name(tmp_path: Path, asked: str, env: dict[str, str], text: str, name: str) -> None:
    folder = tmp_path / "My Project_1"
    folder.mkdir()
    project = load(folder, text, env=env, name=asked)
    assert project.name == name
    assert project.networks["default"].name == f"{name}_default"
    assert project.environment["COMPOSE_PROJECT_NAME"] == name


def test_a_name_that_can_be_none(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match="invalid project name 'Bad Name'"):
        load(tmp_path, ONE, name="Bad Name")


# --- merging --------------------------------------------------------------------------------------


def merged(tmp_path: Path, one: str, two: str) -> Tree:
    files = {"compose.yaml": f"services: {{web: {{image: x, {one}}}}}",
             "two.yaml": f"services:\n  web: {{{two}}}\n"}  # fmt: skip
    project = load(tmp_path, files, "compose.yaml", "two.yaml", env={"HOME": "/me"})
    return project.services["web"].words


@pytest.mark.parametrize(
    ("one", "two", "key", "value"),
    [
        ("command: a", "command: b c", "command", ["b", "c"]),
        ("command: a", "command: ", "command", None),
        ("user: a", "user: b", "user", "b"),
        ("environment: [A=1, B=2]", "environment: {B: 3, C: 4}", "environment",
         {"A": "1", "B": "3", "C": "4"}),
        ("environment: {HOME: x}", "environment: [HOME]", "environment", {"HOME": "/me"}),
        ("dns: 1.1.1.1", "dns: [2.2.2.2, 1.1.1.1]", "dns", ["1.1.1.1", "2.2.2.2"]),
        ("cap_add: [A]", "cap_add: !override [B]", "cap_add", ["B"]),
        ("labels: {a: 1, b: 2}", "labels: {a: !reset null}", "labels", {"b": "2"}),
        ("logging: {driver: a, options: {x: 1}}", "logging: {options: {y: 2}}", "logging",
         {"driver": "a", "options": {"x": 1, "y": 2}}),
        ("logging: {driver: a, options: {x: 1}}", "logging: {driver: b}", "logging",
         {"driver": "b"}),
        ("healthcheck: {test: a, retries: 3}", "healthcheck: {test: [CMD, b]}", "healthcheck",
         {"test": ["CMD", "b"], "retries": 3}),
        ("build: .", "build: {target: t}", "build",
         {"context": "DIR", "target": "t", "dockerfile": "Dockerfile"}),
        ("ulimits: {nofile: 1}", "ulimits: {nofile: {soft: 2, hard: 3}}", "ulimits",
         {"nofile": {"soft": 2, "hard": 3}}),
        ("init: true", "init: false", "init", False),
    ],
)  # fmt: skip
def test_merging(tmp_path: Path, one: str, two: str, key: str, value: Any) -> None:
    found = json.loads(json.dumps(merged(tmp_path, one, two)[key]).replace(str(tmp_path), "DIR"))
    assert found == value


def test_an_entry_for_the_same_target_takes_the_earlier_ones_place(tmp_path: Path) -> None:
    words = merged(tmp_path, "volumes: ['./a:/x', '/y'], ports: ['1:1', '2:2']",
                   "volumes: ['./b:/x:ro', '/z'], ports: ['2:2', '3:2']")  # fmt: skip
    assert [(one.get("source", ""), one["target"]) for one in words["volumes"]] == [
        (f"{tmp_path}/b", "/x"), ("", "/y"), ("", "/z"),
    ]  # fmt: skip
    published = [(one["published"], one["target"]) for one in words["ports"]]
    assert published == [("1", 1), ("2", 2), ("3", 2)]


def test_reset_takes_a_whole_service_or_key_away(tmp_path: Path) -> None:
    files = {"a.yaml": "services: {web: {image: x, ports: ['1:1']}, db: {image: y}}",
             "b.yaml": "services: {web: {ports: !reset []}, db: !reset null}"}  # fmt: skip
    project = load(tmp_path, files, "a.yaml", "b.yaml")
    assert list(project.services) == ["web"] and "ports" not in project.services["web"].words


keys = st.sampled_from(["a", "b", "environment", "ports", "command"])
trees = st.recursive(
    st.integers(0, 3) | st.text("xy", max_size=2),
    lambda deeper: st.dictionaries(keys, deeper, max_size=3) | st.lists(deeper, max_size=3),
    max_leaves=8,
)
mappings = st.dictionaries(keys, trees, max_size=4)


def _alike(one: Any, two: Any) -> bool:
    """Whether two trees have the same kinds of values where both have one."""
    if isinstance(one, dict) and isinstance(two, dict):
        return all(_alike(one[key], two[key]) for key in one.keys() & two.keys())
    return type(one) is type(two) and not isinstance(one, dict)


def _plain_lists(tree: Any) -> bool:
    if isinstance(tree, dict):
        return all(key not in ("ports",) and _plain_lists(one) for key, one in tree.items())
    return True


@given(mappings)
def test_merging_nothing_changes_nothing(tree: Tree) -> None:
    assert merging.merge(tree, {}) == tree
    assert merging.merge({}, tree) == tree


@given(mappings.filter(_plain_lists), mappings.filter(_plain_lists), mappings.filter(_plain_lists))
def test_merging_can_be_grouped(one: Tree, two: Tree, three: Tree) -> None:
    if not all(_alike(a, b) for a, b in itertools.combinations((one, two, three), 2)):
        return  # a word over a mapping is an error of the schema
    left = merging.merge(merging.merge(one, two), three)
    assert left == merging.merge(one, merging.merge(two, three))


@given(mappings.filter(_plain_lists), mappings.filter(_plain_lists))
def test_merging_leaves_both_sides_alone(one: Tree, two: Tree) -> None:
    before = json.dumps([one, two])
    merging.merge(one, two)
    assert json.dumps([one, two]) == before


# --- include --------------------------------------------------------------------------------------


def test_an_included_project_has_its_own_directory_and_variables(tmp_path: Path) -> None:
    files = {
        "compose.yaml": "include: [db/compose.yaml]\nservices: {web: {image: x, depends_on: [db]}}",
        "db/compose.yaml": "services: {db: {image: '$I-$J', volumes: ['./data:/d']}}",
        "db/.env": "I=own\nJ=own",
    }
    project = load(tmp_path, files, env={"J": "callers"})
    db = project.services["db"]
    assert db.image == "own-callers"
    assert db.words["volumes"][0]["source"] == f"{tmp_path}/db/data"


def test_include_with_overrides_and_a_directory(tmp_path: Path) -> None:
    files = {
        "compose.yaml": "include: [{path: [a/x.yaml, over.yaml], project_directory: b, "
                        "env_file: e}]",
        "a/x.yaml": "services: {db: {image: '$I', build: sub}}",
        "over.yaml": "services: {db: {user: me}}",
        "e": "I=img",
    }  # fmt: skip
    words = load(tmp_path, files).services["db"].words
    assert (words["image"], words["user"]) == ("img", "me")
    assert words["build"]["context"] == f"{tmp_path}/b/sub"


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"compose.yaml": "include: [b.yaml]\nservices: {web: {image: x}}",
          "b.yaml": "services: {web: {image: other}}"},
         "compose.yaml:1: include[0]: conflicts: services.web is defined here too"),
        ({"compose.yaml": "include: [b.yaml]", "b.yaml": "include: [compose.yaml]"},
         "b.yaml:1: include[0]: include cycle detected"),
        ({"compose.yaml": "include: [b.yaml]"}, "b.yaml: No such file or directory"),
    ],
)  # fmt: skip
def test_include_that_can_not_be(tmp_path: Path, files: dict[str, str], problem: str) -> None:
    with pytest.raises(errors.SpecError) as caught:
        load(tmp_path, files)
    assert str(caught.value).startswith(f"{tmp_path}/{problem}")


def test_what_both_define_alike_is_no_conflict(tmp_path: Path) -> None:
    files = {"compose.yaml": f"include: [b.yaml]\n{ONE}", "b.yaml": ONE}
    assert list(load(tmp_path, files).services) == ["web"]


# --- extends --------------------------------------------------------------------------------------


def test_extends_a_service_of_another_file_with_its_own_paths(tmp_path: Path) -> None:
    files = {
        "compose.yaml": "services: {web: {extends: {file: lib/base.yaml, service: base}, "
                        "environment: {A: 2}, cap_add: !override [Y]}}",
        "lib/base.yaml": "services:\n  base: {extends: root, environment: {B: 1}}\n"
                         "  root: {image: x, volumes: ['./v:/v'], environment: {A: 1}, "
                         "cap_add: [X]}",
    }  # fmt: skip
    words = load(tmp_path, files).services["web"].words
    assert words["environment"] == {"A": "2", "B": "1"}
    assert words["volumes"][0]["source"] == f"{tmp_path}/lib/v"
    assert words["cap_add"] == ["Y"] and "extends" not in words


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("services:\n  a: {extends: b}\n  b: {extends: a}\n", "circular reference: a -> b -> a"),
        ("services: {a: {extends: gone}}", "service 'gone' not found in compose.yaml"),
    ],
)
def test_extends_that_can_not_be(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(errors.SpecError) as caught:
        load(tmp_path, text)
    assert str(caught.value).endswith(problem)


# --- defaults and checks --------------------------------------------------------------------------


def test_what_is_not_said(tmp_path: Path) -> None:
    text = """
services:
  web: {build: ., links: ["db:database"], volumes_from: [files], deploy: {replicas: 2}}
  db: {image: db, network_mode: "service:files"}
  files: {image: f, scale: 0, networks: [back]}
networks: {back: {name: real}, out: {external: true}, gone: {external: {name: old}}}
volumes: {data: }
"""
    project = load(tmp_path, text, name="p")
    web = project.services["web"]
    assert web.image == "p-web" and web.scale == 2
    assert [(one.service, one.restart) for one in web.depends_on] == [("db", True),
                                                                     ("files", False)]  # fmt: skip
    assert project.services["db"].depends_on[0].service == "files"
    assert "networks" not in project.services["db"].words
    assert project.services["files"].scale == 0
    names = {key: one.name for key, one in project.networks.items()}
    assert names == {"default": "p_default", "back": "real", "out": "out", "gone": "old"}
    assert project.volumes["data"].name == "p_data" and project.networks["gone"].external


def test_files_of_variables_and_labels(tmp_path: Path) -> None:
    text = """
services:
  web:
    image: x
    env_file: [a.env, {path: gone.env, required: false}, {path: raw.env, format: raw}]
    environment: {A: own, CALLER: , UNSET: }
    label_file: l
    labels: {two: own}
"""
    files = {"compose.yaml": text, "a.env": "A=file\nB=$C", "raw.env": "R=$C", "l": "one=1\ntwo=2"}
    words = load(tmp_path, files, env={"C": "see", "CALLER": "mine"}).services["web"].words
    assert words["environment"] == {
        "A": "own", "B": "see", "R": "$C", "CALLER": "mine", "UNSET": None,
    }  # fmt: skip
    assert words["labels"] == {"one": "1", "two": "own"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("services:\n  a: {}\n", ":2: services.a: has neither an image nor a build context"),
        ("services:\n  a: {image: x, depends_on: [b]}",
         ":2: services.a.depends_on: depends on undefined service 'b'"),
        ("services:\n  a: {image: x, networks: [b]}",
         ":2: services.a.networks: refers to undefined network b"),
        ("services:\n  a: {image: x, volumes: ['b:/c']}",
         ":2: services.a.volumes: refers to undefined volume b"),
        ("services:\n  a: {image: x, secrets: [b]}",
         ":2: services.a.secrets: refers to undefined secret b"),
        (("services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [c]}\n"
         "  c: {image: x, depends_on: [b]}\n"),
         ":3: services.b.depends_on: dependency cycle detected: b -> c -> b"),
        ("services:\n  a: {image: x, network_mode: host, networks: [b]}\nnetworks: {b: }",
         ":2: services.a: declares mutually exclusive `network_mode` and `networks`"),
        ("services:\n  a: {image: x, container_name: cc}\n  b: {image: x, container_name: cc}",
         ":3: services.b.container_name: 'cc' is the name of service a too"),
        ("services: {a: {image: x}}\nsecrets:\n  s: {}\n",
         ":3: secrets.s: it needs one of file, environment or external; there is none"),
        ("services: {a: {image: x}}\nconfigs:\n  s: {file: a, content: b}\n",
         (":3: configs.s: it needs one of file, environment, content or external; "
         "there is file and content")),
    ],
)  # fmt: skip
def test_what_can_not_be(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(errors.SpecError) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/compose.yaml{problem}")


def test_profiles(tmp_path: Path) -> None:
    text = """
services:
  web: {image: x}
  debug: {image: x, profiles: [debug], depends_on: [tool]}
  tool: {image: x, profiles: [debug, more]}
  alone: {image: x, profiles: [alone], depends_on: [tool]}
"""
    assert list(load(tmp_path, text).services) == ["web"]
    assert set(load(tmp_path, text, profiles=("more",)).services) == {"web", "tool"}
    env = {"COMPOSE_PROFILES": "debug,more"}
    assert set(load(tmp_path, text, env=env).services) == {"web", "debug", "tool"}
    project = load(tmp_path, text)
    assert set(project.enabled([], ["debug"]).services) == {"web", "debug", "tool"}
    assert len(project.enabled(["*"]).services) == 4
    with pytest.raises(
        errors.UsageError, match="service tool is required by alone but is disabled"
    ):
        project.enabled([], ["alone"])
    with pytest.raises(errors.NotFoundError, match="no such service: gone"):
        project.enabled([], ["gone"])


def test_what_is_disabled_may_wait_in_a_circle_and_miss_its_files(tmp_path: Path) -> None:
    text = """
services:
  web: {image: x, depends_on: {db: {condition: service_started, required: false}}}
  db: {image: x, profiles: [more], depends_on: [web], env_file: gone.env}
"""
    assert list(load(tmp_path, text).services) == ["web"]
    with pytest.raises(errors.UsageError, match=r"gone\.env: No such file"):
        load(tmp_path, text, profiles=("more",))
    write(tmp_path, {"gone.env": ""})
    with pytest.raises(errors.SpecError, match="dependency cycle detected"):
        load(tmp_path, text, profiles=("more",))


def test_only_some_services_and_what_they_need(tmp_path: Path) -> None:
    text = "services: {a: {image: x, depends_on: [b]}, b: {image: x}, c: {image: x}}"
    project = load(tmp_path, text)
    assert set(project.only(["a"]).services) == {"a", "b"}
    assert set(project.only(["a"], dependencies=False).services) == {"a"}
    assert project.scaled({"a": 3}).services["a"].scale == 3


def test_several_containers_can_not_have_one_name(tmp_path: Path) -> None:
    project = load(tmp_path, "services: {a: {image: x, container_name: cc}}")
    with pytest.raises(errors.UsageError, match="has the container name 'cc'"):
        project.scaled({"a": 2})


# --- config ---------------------------------------------------------------------------------------

WHOLE = """
name: whole
x-own: {a: [1, yes]}
services:
  web:
    build: {context: ., args: [A=1, B]}
    command: ["sh", "-c", "echo $$A ${B}"]
    ports: ["80-81", "127.0.0.1:8080:80/udp"]
    volumes: ["./d:/d:ro", "data:/x", "/anon", {type: tmpfs, target: /t, tmpfs: {size: 1m}}]
    environment: {A: "1", NUL: , T: "true", L: "a\\nb\\n", D: "2026-01-02"}
    depends_on: {db: {condition: service_healthy, restart: true}}
    secrets: [{source: s, mode: 0400}]
    configs: [c]
    networks: {back: {aliases: [w], priority: 3}, default: }
    deploy: {replicas: 2, resources: {limits: {cpus: "0.5", memory: 64m}}}
    extra_hosts: ["a:1.1.1.1"]
    ulimits: {nofile: 5}
    healthcheck: {test: "true", interval: 1m30s}
    cpus: 1.5
    mem_limit: 1g
    develop: {watch: [{path: ., action: rebuild, ignore: [x]}]}
  db: {image: "db:${TAG:-1.10}", profiles: [], labels: [a, "b=22:22"]}
networks: {back: {driver_opts: {x: 1}, ipam: {config: [{subnet: 10.0.0.0/24}]}}}
volumes: {data: }
secrets: {s: {environment: S}}
configs: {c: {content: "$$x\\n"}}
"""


@pytest.mark.parametrize("form", [showing.to_yaml, showing.to_json])
def test_config_can_be_read_again_and_says_the_same(tmp_path: Path, form: Any) -> None:
    first = load(tmp_path, WHOLE, env={"B": "it's $x"})
    text = form(first)
    second = load(tmp_path, text, env={"B": "other"})
    assert showing.tree(second) == showing.tree(first)
    for name in first.services:
        hashes = {labels.config_hash(one.services[name]) for one in (first, second)}
        assert len(hashes) == 1


def test_config_means_the_same_to_a_reader_of_yaml_1_1(tmp_path: Path) -> None:
    project = load(tmp_path, WHOLE, env={})
    assert yaml.safe_load(showing.to_yaml(project)) == json.loads(showing.to_json(project))
