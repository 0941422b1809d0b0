"""config.json read and refused: every refusal names the field and is one line."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcontainer.errors import SpecError
from labcontainer.runtime import container, jsontext, lifecycle, state, template
from labcontainer.runtime.spec import read_process, read_spec


def document() -> dict[str, Any]:
    return copy.deepcopy(template.config())


def change(path: str, value: Any) -> dict[str, Any]:
    """The template with one field changed: `process.args`."""
    made = document()
    *folders, last = path.split(".")
    place: Any = made
    for name in folders:
        place = place.setdefault(name, {})
    place[last] = value
    return made


def test_the_template_is_read() -> None:
    spec = read_spec(document(), "/bundle")
    assert spec.root.path == "/bundle/rootfs"
    assert spec.root.readonly
    assert spec.process is not None
    assert spec.process.args == ("sh",)
    assert spec.process.no_new_privileges
    assert set(spec.namespaces.new) == {"pid", "network", "ipc", "uts", "mount", "cgroup"}


def test_rootless_template_maps_one_id() -> None:
    spec = read_spec(template.config(rootless=True, uid=1000, gid=1001), "/b")
    assert [str(one) for one in (*spec.uid_maps, *spec.gid_maps)] == ["0 1000 1", "0 1001 1"]
    assert not any("gid=" in mount.data for mount in spec.root.mounts)


@pytest.mark.parametrize(
    ("path", "value", "names"),
    [
        ("ociVersion", None, "ociVersion"),
        ("ociVersion", "2.0", "ociVersion"),
        ("root", None, "root"),
        ("root.path", 3, "root.path"),
        ("process.args", [], "process.args"),
        ("process.args", ["a", 1], "process.args[1]"),
        ("process.args", ["a\0b"], "process.args[0]"),
        ("process.cwd", "tmp", "process.cwd"),
        ("process.user.uid", -1, "process.user.uid"),
        ("process.user.uid", 2**40, "process.user.uid"),
        ("process.user.uid", True, "process.user.uid"),
        ("process.rlimits", [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}], "rlimits[0]"),
        ("process.oomScoreAdj", 1001, "process.oomScoreAdj"),
        ("linux.namespaces", [{"type": "mnt"}], "linux.namespaces[0].type"),
        ("linux.namespaces", [{"type": "mount"}, {"type": "mount"}], "linux.namespaces[1]"),
        ("linux.namespaces", [{"type": "mount"}], "hostname"),
        ("linux.namespaces", [{"type": "uts"}], "linux.namespaces"),
        ("linux.namespaces", [{"type": "mount", "path": "x"}], "linux.namespaces[0].path"),
        ("linux.uidMappings", [{"containerID": 0, "hostID": 0, "size": 1}], "uidMappings"),
        ("linux.sysctl", {"vm.swappiness": "1"}, "linux.sysctl.vm.swappiness"),
        ("linux.sysctl", {"kernel.hostname": "x"}, "linux.sysctl.kernel.hostname"),
        ("linux.sysctl", {"net/../vm/swappiness": "1"}, "linux.sysctl"),
        ("linux.sysctl", {"net.x": 1}, "linux.sysctl.net.x"),
        ("linux.maskedPaths", ["proc"], "linux.maskedPaths[0]"),
        ("linux.devices", [{"path": "/dev/x", "type": "z"}], "linux.devices[0].type"),
        ("linux.rootfsPropagation", "loose", "linux.rootfsPropagation"),
        ("linux.timeOffsets", {"boottime": {"secs": 1}}, "linux.timeOffsets"),
        ("mounts", [{"type": "bind", "destination": "/x"}], "mounts[0].source"),
        ("mounts", [{"source": "x"}], "mounts[0].destination"),
        ("mounts", {}, "mounts"),
        ("hooks", {"prestart": [{"path": "bin/x"}]}, "hooks.prestart[0].path"),
        ("annotations", {"a": 1}, "annotations.a"),
        ("linux", [], "linux"),
    ],
)
def test_refusals_name_the_field(path: str, value: Any, names: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_spec(change(path, value), "/bundle")
    text = str(caught.value)
    assert names in text
    assert "\n" not in text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "process",
                        "root",
                        "linux",
                        "mounts",
                        "hooks",
                        "args",
                        "path",
                        "user",
                        "ociVersion",
                        "namespaces",
                        "type",
                        "cwd",
                        "resources",
                        "rlimits",
                    ]
                ),
                inner,
            )
        ),
    )
)
def test_any_document_is_read_or_refused(value: Any) -> None:
    try:
        read_spec(value, "/bundle")
    except SpecError:
        pass


def test_process_document() -> None:
    process = read_process({"args": ["a"], "user": {"uid": 5, "umask": 0o27}, "terminal": True})
    assert (process.user.uid, process.user.umask, process.terminal) == (5, 0o27, True)


@pytest.mark.parametrize(
    "text", ["", "{", "[1,", "{'a': 1}", "nul", '{"a": 1} x', '"\x01"', "[" * 100_000, "\ufeff{}"]
)
def test_torn_json_is_one_clear_line(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        jsontext.loads(text, "config.json")
    assert str(caught.value).startswith("config.json: ")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_there_and_back(value: Any) -> None:
    import json

    assert json.loads(jsontext.dumps(value)) == value
    assert jsontext.loads(json.dumps(value), "text") == value


@pytest.mark.parametrize("state", lifecycle.STATES)
@pytest.mark.parametrize("verb", sorted({verb for _, verb in lifecycle.TRANSITIONS}))
def test_only_the_table_changes_a_state(state: str, verb: str) -> None:
    from labcontainer.errors import StateError

    if (state, verb) in lifecycle.TRANSITIONS:
        assert lifecycle.check(state, verb, "x") == lifecycle.TRANSITIONS[(state, verb)]
    else:
        with pytest.raises(StateError):
            lifecycle.check(state, verb, "x")


def test_a_write_that_takes_only_a_part_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is nearly full takes a part of config.json first, and then says so."""
    directory = state.Directory(str(tmp_path), "c")
    directory.make()
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:100]))
    container._save_config(directory, "x" * 1000)
    assert (tmp_path / "c/config.json").read_text() == "x" * 1000
