"""The docker command and docker-py drive our daemon: images, registries, archives."""

from __future__ import annotations

import io
import json
import re
import socket
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker.errors
import pytest

from tests.api import plain, shapes
from tests.api.plain import PASSWORD, TAR, USER, Connection, archive, ask, login, member, refused
from tests.api.world import Daemon

pytestmark = pytest.mark.requires("root", "docker", "busybox")


@pytest.fixture(autouse=True)
def same_images(running: Daemon) -> Iterator[None]:
    """Each test begins with the image busybox alone."""
    yield
    plain.only_busybox(running)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from plain.served(tmp_path_factory.mktemp("registry"))


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from plain.served_in_private(tmp_path_factory.mktemp("private"))


# --- what is here ---------------------------------------------------------------------------------


def test_the_list_and_its_shape(daemon: Daemon, client: Any) -> None:
    daemon.docker("tag", "busybox", "localhost:5000/team/app:1.2")
    for line in client.api.images():
        shapes.check(line, shapes.IMAGE_SUMMARY)
    (line,) = client.api.images()
    assert sorted(line["RepoTags"]) == ["busybox:latest", "localhost:5000/team/app:1.2"]
    assert line["Size"] > 100_000
    assert "VirtualSize" not in line
    shown = daemon.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    assert sorted(shown) == sorted(line["RepoTags"])
    assert daemon.docker("images", "team/app") == daemon.docker("images", "nothing")
    assert len(daemon.docker("images", "-q", "localhost:5000/team/app").split()) == 1
    assert client.images.list(filters={"dangling": True}) == []


def test_old_clients_get_the_old_shape(daemon: Daemon) -> None:
    status, data = ask(daemon, "GET", "/v1.41/images/json")
    assert status == 200
    assert all(one["VirtualSize"] == one["Size"] for one in json.loads(data))
    status, data = ask(daemon, "GET", "/v1.40/images/json?filter=busy*")
    assert len(json.loads(data)) == 1
    status, data = ask(daemon, "GET", "/v1.40/images/json?filter=nothing")
    assert json.loads(data) == []


def test_inspect_and_history(daemon: Daemon, client: Any) -> None:
    found = client.api.inspect_image("busybox")
    shapes.check(found, shapes.IMAGE_INSPECT)
    assert found["Config"]["Cmd"] == ["sh"]
    assert Path(found["GraphDriver"]["Data"]["UpperDir"]).parts[-1] == "fs"
    assert daemon.docker("inspect", "-f", "{{.Id}}", found["Id"][7:19]) == found["Id"]
    history = client.api.history("busybox")
    shapes.check(history, [shapes.IMAGE_HISTORY])
    assert history[0]["Tags"] == ["busybox:latest"]
    assert found["Id"][7:19] in daemon.docker("history", "busybox")
    assert "No such image: nothing" in daemon.fails("inspect", "--type=image", "nothing")[1]
    assert "repository name must be lowercase" in daemon.fails("history", "UPPER")[1]


def test_names_come_and_go(daemon: Daemon, client: Any) -> None:
    identity = client.images.get("busybox").id
    assert client.images.get("busybox").tag("one", "1")
    daemon.docker("tag", identity, "two")
    assert daemon.docker("rmi", "one:1") == "Untagged: one:1"
    assert "No such image: one:1" in daemon.fails("rmi", "one:1")[1]
    status, said = refused(daemon, "DELETE", f"/images/{identity}")
    assert (status, "image is referenced in multiple repositories" in said) == (409, True)
    deleted = client.api.remove_image("two")
    shapes.check(deleted, [shapes.IMAGE_DELETED])
    assert deleted == [{"Untagged": "two:latest"}]
    for words in ("repo=UPPER", "repo=a&tag=b/c", "repo=", "repo=sha256:abc",
                  f"repo=a@sha256:{'0' * 64}"):  # fmt: skip
        assert refused(daemon, "POST", f"/images/busybox/tag?{words}")[0] == 400
    assert refused(daemon, "POST", "/images/nothing/tag?repo=a")[0] == 404


def test_a_container_keeps_its_image(daemon: Daemon) -> None:
    root = archive({"kept": b"kept"})
    identity = daemon.docker("import", "-c", "LABEL app=1", "-", "app", stdin=root)
    made = daemon.docker("create", "--name", "user", "app", "true")
    said = daemon.fails("rmi", "app")[1]
    assert (
        f'conflict: unable to remove repository reference "app" (must force) - container '
        f"{made[:12]} is using its referenced image {identity[7:19]}" in said
    )
    assert daemon.docker("rmi", "-f", "app") == "Untagged: app:latest"
    daemon.docker("image", "prune", "-af", "--filter", "label=app")
    assert daemon.call("docker", "cp", "user:/kept", "-").returncode == 0
    assert daemon.docker("inspect", "-f", "{{.RepoTags}}", identity) == "[]"
    daemon.docker("rm", "user")
    assert f"Deleted: {identity}" in daemon.docker("rmi", identity)
    assert "No such image" in daemon.fails("rmi", identity)[1]


def test_prune_and_filters(daemon: Daemon, client: Any) -> None:
    for label in ("one", "two"):
        daemon.docker("import", "-c", f"LABEL which={label}", "-", "moved", stdin=bytes(10240))
    assert len(client.images.list(filters={"dangling": True})) == 1
    assert [one.labels for one in client.images.list(filters={"label": "which"})] == [
        {"which": "two"}, {"which": "one"}]  # fmt: skip
    assert client.images.list(filters={"label": ["which=one"], "dangling": False}) == []
    assert client.images.list(filters={"since": "moved"}) == []
    assert len(client.images.list(filters={"before": "moved"})) == 2
    assert client.images.list(filters={"reference": "mov*"})[0].tags == ["moved:latest"]
    found = client.images.prune()
    shapes.check(found, shapes.IMAGES_PRUNED)
    assert len(found["ImagesDeleted"]) >= 1
    assert client.images.prune()["ImagesDeleted"] is None
    said = daemon.docker("image", "prune", "-af", "--filter", "label=which=two")
    assert "untagged: moved:latest" in said
    assert daemon.docker("images", "-q", "busybox")
    for filters in ('{"nosuch":["1"]}', '{"dangling":["perhaps"]}', "[1]", "{", '{"until":["x"]}'):
        quoted = re.sub(r"\W", lambda found: f"%{ord(found[0]):02X}", filters)
        assert refused(daemon, "GET", f"/images/json?filters={quoted}")[0] == 400
        assert refused(daemon, "POST", f"/images/prune?filters={quoted}")[0] == 400


# --- registries -----------------------------------------------------------------------------------


def test_push_and_pull(daemon: Daemon, client: Any, registry: str) -> None:
    identity = client.images.get("busybox").id
    daemon.docker("tag", "busybox", f"{registry}/team/box:1")
    said = daemon.docker("push", f"{registry}/team/box:1")
    assert said.startswith(f"The push refers to repository [{registry}/team/box]")
    digest = re.search(r"1: digest: (sha256:[0-9a-f]{64}) size: \d+", said)
    assert digest is not None
    assert "Layer already exists" in daemon.docker("push", f"{registry}/team/box:1")
    daemon.docker("rmi", f"{registry}/team/box:1")
    said = daemon.docker("pull", f"{registry}/team/box:1")
    assert said.splitlines()[0] == "1: Pulling from team/box"
    assert f"Digest: {digest[1]}" in said
    assert f"Status: Downloaded newer image for {registry}/team/box:1" in said
    assert "Image is up to date" in daemon.docker("pull", f"{registry}/team/box:1")
    assert client.images.get(f"{registry}/team/box@{digest[1]}").id == identity
    assert daemon.docker("pull", "-q", f"{registry}/team/box@{digest[1]}").endswith(digest[1])
    found = client.images.get_registry_data(f"{registry}/team/box:1")
    shapes.check(found.attrs, shapes.DISTRIBUTION)
    assert found.id == digest[1]


def test_layers_arrive_with_progress(daemon: Daemon, client: Any, registry: str) -> None:
    daemon.docker("import", "-", f"{registry}/fresh:1", stdin=archive({"f": b"x" * 3_000_000}))
    lines = list(client.api.push(f"{registry}/fresh", "1", stream=True, decode=True))
    assert lines[-1]["aux"]["Tag"] == "1"
    assert set(lines[-1]["aux"]) == {"Tag", "Digest", "Size"}
    assert [one["status"] for one in lines if "id" in one][:1] == ["Preparing"]
    assert "Pushed" in [one.get("status") for one in lines]
    daemon.docker("rmi", f"{registry}/fresh:1")
    lines = list(client.api.pull(f"{registry}/fresh", "1", stream=True, decode=True))
    layer = [one for one in lines if "id" in one and one["id"] != "1"]
    words = list(dict.fromkeys(one["status"] for one in layer))
    assert words == ["Pulling fs layer", "Downloading", "Download complete", "Extracting",
                     "Pull complete"]  # fmt: skip
    moving = [one["progressDetail"] for one in layer if one["status"] == "Downloading"]
    assert moving[-1]["current"] == moving[-1]["total"] > 0


def test_all_tags_of_a_repository(daemon: Daemon, registry: str) -> None:
    for tag in ("a", "b"):
        daemon.docker("tag", "busybox", f"{registry}/many:{tag}")
    said = daemon.docker("push", "-a", f"{registry}/many")
    assert [line.partition(":")[0] for line in said.splitlines() if " digest: " in line] == [
        "a", "b"]  # fmt: skip
    daemon.docker("rmi", f"{registry}/many:a", f"{registry}/many:b")
    said = daemon.docker("pull", "-a", f"{registry}/many")
    assert f"Status: Downloaded newer image for {registry}/many" in said
    assert daemon.docker("images", "--format", "{{.Tag}}", f"{registry}/many").split() == ["a", "b"]


def test_what_a_registry_has_not_got(daemon: Daemon, client: Any, registry: str) -> None:
    with pytest.raises(docker.errors.NotFound, match="manifest unknown"):
        client.images.pull(f"{registry}/nothing", tag="1")
    assert f"manifest for {registry}/nothing:1 not found" in daemon.fails(
        "pull", f"{registry}/nothing:1")[1]  # fmt: skip
    said = daemon.fails("push", f"{registry}/nothing:1")[1]
    assert f"An image does not exist locally with the tag: {registry}/nothing" in said
    status, said = refused(daemon, "POST", "/images/create?fromImage=localhost:1/x&tag=1")
    assert (status, said.startswith("cannot reach http://localhost:1: ")) == (500, True)
    assert refused(daemon, "GET", f"/distribution/{registry}/nothing/json")[0] == 404
    assert refused(daemon, "GET", "/images/search?term=localhost:1/x")[0] == 500
    assert refused(daemon, "GET", "/images/search?term=x&limit=101")[0] == 400


def test_who_asks_is_told_by_the_client_alone(daemon: Daemon, client: Any, private: str) -> None:
    daemon.docker("tag", "busybox", f"{private}/box:1")
    assert "unauthorized" in daemon.fails("push", f"{private}/box:1")[1]
    wrong = daemon.call("docker", "login", "-u", USER, "--password-stdin", private,
                        stdin=b"wrong")  # fmt: skip
    assert (wrong.returncode, b"unauthorized" in wrong.stderr) == (1, True)
    said = daemon.docker("login", "-u", USER, "--password-stdin", private, stdin=PASSWORD.encode())
    assert "Login Succeeded" in said
    assert "digest: sha256:" in daemon.docker("push", f"{private}/box:1")
    daemon.docker("rmi", f"{private}/box:1")
    # The daemon was started with the same configuration, and does not look at it.
    query = f"/images/create?fromImage={private}/box&tag=1"
    status, said = refused(daemon, "POST", query)
    assert (status, f"pull access denied for {private}/box" in said) == (404, True)
    assert ask(daemon, "POST", query, headers=login(USER, "wrong"))[0] == 404
    assert ask(daemon, "POST", query, headers=login(USER, PASSWORD))[0] == 200
    assert "Status: Image is up to date" in daemon.docker("pull", f"{private}/box:1")
    found = client.api.login(USER, PASSWORD, registry=private, reauth=True)
    shapes.check(found, shapes.AUTHENTICATED)
    assert found["Status"] == "Login Succeeded"
    daemon.docker("logout", private)
    assert daemon.fails("pull", f"{private}/box:1")[0] == 1
    assert PASSWORD not in daemon.said()


@pytest.mark.parametrize("header", ["%%%", "bm90IGpzb24=", "WzFd", "eyJ1c2VybmFtZSI6MX0="])
def test_a_login_that_is_none(daemon: Daemon, registry: str, header: str) -> None:
    query = f"/images/create?fromImage={registry}/x&tag=1"
    status, said = refused(daemon, "POST", query, headers={"X-Registry-Auth": header})
    assert (status, said.startswith("invalid ")) == (400, True)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"username": 1}', b'"text"', b"\xff"])
def test_a_login_body_that_is_none(daemon: Daemon, body: bytes) -> None:
    status, said = refused(daemon, "POST", "/auth", body)
    assert (status, said.startswith("invalid JSON")) == (400, True)


# --- archives -------------------------------------------------------------------------------------


def test_save_and_load(daemon: Daemon, client: Any, tmp_path: Path) -> None:
    identity = client.images.get("busybox").id
    daemon.docker("tag", "busybox", "saved:1")
    daemon.docker("save", "-o", f"{tmp_path}/box.tar", "saved:1")
    with tarfile.open(tmp_path / "box.tar") as saved:
        names = saved.getnames()
    assert {"manifest.json", "index.json", "oci-layout"} <= set(names)
    daemon.docker("rmi", "saved:1")
    assert daemon.docker("load", "-i", f"{tmp_path}/box.tar") == "Loaded image: saved:1"
    data = b"".join(client.images.get("saved:1").save(named=False))
    (loaded,) = client.images.load(data)
    assert loaded.id == identity
    assert "No such image" in daemon.fails("save", "-o", f"{tmp_path}/x", "saved:1", "nothing")[1]
    both = daemon.call("docker", "save", "saved:1", "busybox").stdout
    found = json.loads(member(both, "manifest.json"))
    assert [one["RepoTags"] for one in found] == [["saved:1", "busybox:latest"]]


def test_import(daemon: Daemon, client: Any) -> None:
    data = archive({"hello": b"hello"})
    identity = daemon.docker(
        "import", "-m", "why", "-c", 'CMD ["true"]', "-c", "ENV A=b", "-", "made:1", stdin=data
    )
    found = client.api.inspect_image("made:1")
    assert (found["Id"], found["Comment"]) == (identity, "why")
    assert (found["Config"]["Cmd"], found["Config"]["Env"]) == (["true"], ["A=b"])
    query = "/images/create?fromSrc=-&repo=x&changes=RUN+true"
    assert "RUN is not a valid change command" in refused(daemon, "POST", query, data, TAR)[1]


def test_import_from_an_address(daemon: Daemon) -> None:
    for url, files in plain.web():
        files["/root.tar"] = archive({"hello": b"hello"})
        identity = daemon.docker("import", f"{url}/root.tar", "far:1").splitlines()[-1]
        form = "{{.Id}} {{.Comment}}"
        said = daemon.docker("image", "inspect", "-f", form, "far:1")
        assert said == f"{identity} Imported from {url}/root.tar"
        said = daemon.fails("import", f"{url}/nothing")[1]
        assert f"{url}/nothing: the server answered 404" in said
    assert refused(daemon, "POST", "/images/create?fromSrc=file:///etc/passwd")[0] == 400


def test_archives_that_are_none(daemon: Daemon) -> None:
    before = daemon.docker("images", "-aq")
    evil = {"manifest.json": b'[{"Config": "../../etc/passwd", "Layers": []}]'}
    for data in (b"garbage", b"\x1f\x8b garbage", archive({}), archive(evil),
                 archive({"manifest.json": b"{"}), archive({"manifest.json": b"[" * 100_000}),
                 archive({"x": b"y"})[:700]):  # fmt: skip
        assert refused(daemon, "POST", "/images/load", data, TAR)[0] in (400, 500)
    for data in (b"garbage", archive({"x": b"y"})[:700]):
        query = "/images/create?fromSrc=-&repo=x"
        assert refused(daemon, "POST", query, data, TAR)[0] in (400, 500)
    assert daemon.docker("images", "-aq") == before


def test_a_layer_that_is_not_what_was_promised(daemon: Daemon, tmp_path: Path) -> None:
    layer = archive({"f": b"real"})
    config = {"architecture": "amd64", "os": "linux", "config": {},
              "rootfs": {"type": "layers", "diff_ids": [f"sha256:{'0' * 64}"]}}  # fmt: skip
    manifest = [{"Config": "c.json", "RepoTags": ["lies:1"], "Layers": ["l.tar"]}]
    data = archive({"c.json": json.dumps(config).encode(), "l.tar": layer,
                     "manifest.json": json.dumps(manifest).encode()})  # fmt: skip
    assert refused(daemon, "POST", "/images/load", data, TAR)[0] in (400, 500)
    assert daemon.docker("images", "-q", "lies") == ""


def test_a_layer_that_leads_out(daemon: Daemon, tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as written:
        link = tarfile.TarInfo("out")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        written.addfile(link)
        for name in ("out/evil", "../../../../../../../../tmp/evil"):
            info = tarfile.TarInfo(name)
            info.size = 4
            written.addfile(info, io.BytesIO(b"evil"))
    ask(daemon, "POST", "/images/create?fromSrc=-&repo=evil", out.getvalue(), TAR)
    assert list(tmp_path.iterdir()) == []
    assert not Path("/tmp/evil").exists()


# --- what others hear -----------------------------------------------------------------------------


def test_events(daemon: Daemon, registry: str) -> None:
    since = f"{time.time():.6f}"
    name = f"{registry}/heard:1"
    daemon.docker("tag", "busybox", name)
    daemon.docker("push", name)
    daemon.docker("pull", name)
    data = daemon.call("docker", "save", name).stdout
    daemon.docker("load", stdin=data)
    daemon.docker("rmi", name)
    daemon.docker("image", "prune", "-f")
    form = "{{.Action}} {{.Actor.Attributes.name}}"
    words = ("--since", since, "--until", f"{time.time():.6f}", "--filter", "type=image")
    told = daemon.docker("events", *words, "--format", form).splitlines()
    identity = daemon.docker("inspect", "-f", "{{.Id}}", "busybox")
    assert told == [
        f"tag {name}", f"push {registry}/heard", f"pull {registry}/heard", f"save {identity}",
        f"load {identity}", f"untag {identity}", f"untag {identity}", "prune <no value>",
    ]  # fmt: skip


def test_a_client_that_hangs_up_ends_its_pull(daemon: Daemon) -> None:
    """A registry that never answers: the daemon goes on, and forgets the request."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        query = f"/images/create?fromImage=localhost:{port}/x&tag=1"
        connection = Connection(daemon.socket)
        connection.request("POST", query)
        silent.settimeout(60)
        theirs, _ = silent.accept()
        connection.close()
        theirs.close()
    assert daemon.docker("images", "-q", "busybox")


def test_room_on_the_disk(daemon: Daemon, client: Any) -> None:
    daemon.docker("create", "--name", "one", "busybox")
    found = client.df()
    for line in found["Images"]:
        shapes.check(line, shapes.IMAGE_SUMMARY)
        assert line["SharedSize"] >= 0
    assert [one["Containers"] for one in found["Images"]] == [1]
    assert found["LayersSize"] == found["Images"][0]["Size"]
    assert "busybox" in daemon.docker("system", "df", "-v")
