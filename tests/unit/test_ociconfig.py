"""From a request to config.json: Docker's default isolation, and what each flag changes of it."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from labcontainer import capabilities, errors
from labcontainer.cli import run
from labcontainer.engine import defaults, ociconfig, request, single
from labcontainer.users import IdMap, User

PLACE = ociconfig.Place(
    root="/run/root",
    user=User(),
    args=("sh", "-c", "true"),
    hostname="0123456789ab",
    cgroups_path="/labcontainer/x",
    network="own",
    files=(("/run/hosts", "/etc/hosts"),),
)


def made(*flags: str, place: ociconfig.Place = PLACE) -> dict[str, Any]:
    asked = run.parse([*flags, "busybox", "sh"])
    assert isinstance(asked, request.Request)
    document = ociconfig.config(asked, place)
    json.dumps(document)  # a document, nothing else
    return document


def mount(document: dict[str, Any], target: str) -> dict[str, Any]:
    (found,) = [one for one in document["mounts"] if one["destination"] == target]
    return dict(found)


def test_defaults_are_dockers() -> None:
    document = made()
    assert document["process"]["args"] == ["sh", "-c", "true"]
    assert document["process"]["cwd"] == "/"
    assert document["process"]["env"] == [
        ociconfig.PATH,
        "HOSTNAME=0123456789ab",
        "HOME=/",
    ]
    assert document["hostname"] == "0123456789ab"
    assert {one["type"] for one in document["linux"]["namespaces"]} == {
        *("mount", "network", "pid", "ipc", "uts", "cgroup"),
    }
    assert len(document["process"]["capabilities"]["bounding"]) == 14
    assert document["process"]["capabilities"]["inheritable"] == []
    assert "/proc/kcore" in document["linux"]["maskedPaths"]
    assert "/proc/sys" in document["linux"]["readonlyPaths"]
    assert "ro" in mount(document, "/sys")["options"]
    assert document["linux"]["resources"]["devices"][0] == {"allow": False, "access": "rwm"}
    assert set(document["linux"]["resources"]) == {"devices"}


def test_limits_are_bytes_and_microseconds() -> None:
    found = made("--memory", "64m", "--cpus", "0.5", "--pids", "64", "--cpuset-cpus", "0")
    resources = found["linux"]["resources"]
    assert resources["memory"] == {"limit": 64 << 20, "swap": 128 << 20}
    assert resources["cpu"] == {"quota": 50_000, "period": 100_000, "cpus": "0"}
    assert resources["pids"] == {"limit": 64}


@pytest.mark.parametrize("word", ["0", "-1"])
def test_pids_without_limit(word: str) -> None:
    assert made("--pids-limit", word)["linux"]["resources"]["pids"] == {"limit": -1}


ALL = capabilities.mask(capabilities.NAMES)


@pytest.mark.parametrize("flags", [("--privileged",), ("--cap-add", "all")], ids=" ".join)
def test_all_capabilities_are_those_that_can_be_given(
    monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    ours = ALL & ~capabilities.mask(["CAP_SYS_RESOURCE"])
    monkeypatch.setattr(capabilities, "bounding", lambda: ours)
    given = made(*flags)["process"]["capabilities"]["bounding"]
    assert capabilities.mask(given) == ours
    # One that is asked for by name is not left out: the runtime says that it can't be given.
    named = made("--cap-add", "SYS_RESOURCE")["process"]["capabilities"]["bounding"]
    assert "CAP_SYS_RESOURCE" in named


def test_privileged_opens_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "bounding", lambda: ALL)
    document = made("--privileged")
    assert "CAP_SYS_ADMIN" in document["process"]["capabilities"]["effective"]
    assert document["linux"]["maskedPaths"] == []
    assert document["linux"]["readonlyPaths"] == []
    assert "rw" in mount(document, "/sys")["options"]
    assert document["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]


def test_user_who_is_not_root_has_no_capabilities_in_effect() -> None:
    document = made(place=PLACE.replace(user=User(1000, 1000)))
    capabilities = document["process"]["capabilities"]
    assert capabilities["bounding"]
    assert capabilities["effective"] == capabilities["permitted"] == capabilities["ambient"] == []


@pytest.mark.parametrize(
    ("flags", "has", "lacks"),
    [
        (["--cap-add", "sys_time"], "CAP_SYS_TIME", "CAP_SYS_ADMIN"),
        (["--cap-drop", "CAP_CHOWN"], "CAP_SETUID", "CAP_CHOWN"),
        (["--cap-drop", "ALL", "--cap-add", "chown"], "CAP_CHOWN", "CAP_SETUID"),
        (["--cap-add", "ALL", "--cap-drop", "SYS_ADMIN"], "CAP_SYS_TIME", "CAP_SYS_ADMIN"),
    ],
)
def test_capabilities(flags: list[str], has: str, lacks: str) -> None:
    bounding = made(*flags)["process"]["capabilities"]["bounding"]
    assert has in bounding
    assert lacks not in bounding


def test_unknown_capability_is_refused() -> None:
    with pytest.raises(errors.UsageError, match="magic"):
        made("--cap-add", "magic")


@pytest.mark.parametrize(
    ("flag", "kind"),
    [("--pid", "pid"), ("--ipc", "ipc"), ("--uts", "uts"), ("--cgroupns", "cgroup")],
)
def test_namespace_shared_with_the_host_is_left_out(flag: str, kind: str) -> None:
    document = made(flag, "host")
    assert kind not in {one["type"] for one in document["linux"]["namespaces"]}
    assert kind != "uts" or "hostname" not in document


def test_host_network_gets_no_network_settings() -> None:
    document = made(place=PLACE.replace(network="host"))
    assert document["linux"]["sysctl"] == {}
    assert "network" not in {one["type"] for one in document["linux"]["namespaces"]}


def test_id_maps_bring_a_user_namespace() -> None:
    maps = ((IdMap(0, 100000, 65536),), (IdMap(0, 200000, 65536),))
    document = made(place=PLACE.replace(maps=maps))
    assert {"type": "user"} in document["linux"]["namespaces"]
    assert document["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 100000, "size": 65536}]


def test_one_id_has_no_tty_group() -> None:
    many = mount(made(), "/dev/pts")["options"]
    one = mount(made(place=PLACE.replace(all_ids=False, rootless=True)), "/dev/pts")["options"]
    assert set(many) - set(one) == {"gid=5"}


def test_environment_of_the_user_replaces_dockers() -> None:
    found = made("-t", "-e", "HOME=/here", "-e", "TERM=vt100", "-e", "PATH=/bin")["process"]["env"]
    assert found == ["PATH=/bin", "HOSTNAME=0123456789ab", "TERM=vt100", "HOME=/here"]


def test_volumes_come_by_depth_and_users_files_win() -> None:
    document = made("-v", "/srv/deep:/a/b/c", "-v", "/srv:/a:ro", "-v", "/srv/own:/etc/hosts")
    targets = [one["destination"] for one in document["mounts"]]
    assert targets.index("/a") < targets.index("/a/b/c")
    assert mount(document, "/etc/hosts")["source"] == "/srv/own"
    assert mount(document, "/a")["options"] == ["rbind", "rprivate", "ro", "rro"]
    assert mount(document, "/a/b/c")["options"] == ["rbind", "rprivate"]


def test_tmpfs_may_replace_dev_shm() -> None:
    document = made("--tmpfs", "/dev/shm:size=1m")
    assert "size=1m" in mount(document, "/dev/shm")["options"]


def test_shm_size_and_ipc_none() -> None:
    assert "size=1048576" in mount(made("--shm-size", "1m"), "/dev/shm")["options"]
    targets = [one["destination"] for one in made("--ipc", "none")["mounts"]]
    assert "/dev/shm" not in targets


def test_init_goes_first() -> None:
    document = made("--init", place=PLACE.replace(init="/usr/bin/tini-static"))
    assert document["process"]["args"] == [ociconfig.INIT, "--", "sh", "-c", "true"]
    assert mount(document, ociconfig.INIT)["options"][-1] == "ro"


def test_ulimits_and_sysctls() -> None:
    document = made("--ulimit", "nofile=10:20", "--ulimit", "core=-1", "--sysctl", "net.a=1")
    assert document["process"]["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20},
        {"type": "RLIMIT_CORE", "soft": 2**64 - 1, "hard": 2**64 - 1},
    ]
    assert document["linux"]["sysctl"]["net.a"] == "1"


def test_device_is_shown_and_allowed() -> None:
    document = made("--device", "/dev/null:/dev/mine:r")
    (node,) = document["linux"]["devices"]
    assert (node["path"], node["type"], node["major"], node["minor"]) == ("/dev/mine", "c", 1, 3)
    rule = document["linux"]["resources"]["devices"][-1]
    assert rule == {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "r"}


def test_device_must_be_one(tmp_path: Any) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.UsageError, match="it is no device"):
        made("--device", f"{tmp_path}/file")


# --- what is run, and as whom -----------------------------------------------------------------


IMAGE = {
    "Env": ["A=1", "B=2"],
    "Cmd": ["-c", "id"],
    "Entrypoint": ["sh"],
    "WorkingDir": "/srv",
    "User": "nobody",
    "Volumes": {"/data": {}, "/kept/": {}},
    "StopSignal": "SIGQUIT",
}


@pytest.mark.parametrize(
    ("asked", "config", "words"),
    [
        (request.Request("x"), {"Cmd": ["sh"]}, ["sh"]),
        (request.Request("x", ("ls", "-l")), {"Cmd": ["sh"]}, ["ls", "-l"]),
        (request.Request("x"), IMAGE, ["sh", "-c", "id"]),
        (request.Request("x", ("-x",)), IMAGE, ["sh", "-x"]),
        (request.Request("x", ("-l",), entrypoint="ls"), IMAGE, ["ls", "-l"]),
        (request.Request("x", entrypoint="ls"), IMAGE, ["ls"]),
        (request.Request("x", ("ls",), entrypoint=""), IMAGE, ["ls"]),
        (request.Request("x", entrypoint=""), IMAGE, ["-c", "id"]),
    ],
)
def test_command_line(asked: request.Request, config: dict[str, Any], words: list[str]) -> None:
    found = defaults.fill_in(asked, config)
    assert [found.entrypoint, *found.command] == words


def test_nothing_to_run() -> None:
    with pytest.raises(errors.LabError, match="no command specified"):
        defaults.fill_in(request.Request("x"), {})


def test_what_the_image_says_counts_where_the_user_says_nothing() -> None:
    found = defaults.fill_in(request.Request("x"), IMAGE)
    assert (found.env, found.workdir, found.user) == (("A=1", "B=2"), "/srv", "nobody")
    assert found.stop_signal == signal.SIGQUIT
    assert [one.target for one in found.volumes] == ["/data", "/kept/"]
    own = request.Request("x", env=("B=3", "C=4"), workdir="/", user="0", stop_signal=15,
                          tmpfs=(request.Tmpfs("/data"),),
                          volumes=(request.Volume("/srv", "/kept"),))  # fmt: skip
    found = defaults.fill_in(own, IMAGE)
    assert (found.env, found.workdir, found.user) == (("A=1", "B=3", "C=4"), "/", "0")
    assert (found.stop_signal, len(found.volumes)) == (15, 1)


RANGES = ((IdMap(0, 1000, 1), IdMap(1, 200000, 65536)),) * 2


def test_keep_id_moves_the_others_aside() -> None:
    here = single.Here(True, 1000, RANGES)
    uids, gids = single.inner_maps(request.Request("x", userns="keep-id"), here)
    assert uids == gids == (IdMap(0, 1, 1000), IdMap(1000, 0, 1), IdMap(1001, 1001, 64536))


@pytest.mark.parametrize(
    ("here", "said"),
    [
        (single.Here(False, 0), "for ordinary users"),
        (single.Here(True, 1000, ((IdMap(0, 1000, 1),),) * 2), "has one id"),
    ],
)
def test_keep_id_that_cannot_be(here: single.Here, said: str) -> None:
    with pytest.raises(errors.LabError, match=said):
        single.inner_maps(request.Request("x", userns="keep-id"), here)
