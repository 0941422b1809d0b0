"""What the engine tells of transfers, commits and builds, and whom it asks."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from labcontainer import errors
from labcontainer.build.cache import Cache, Cached
from labcontainer.build.options import Options
from labcontainer.engine import image_search, image_transfer
from labcontainer.engine.events import Events
from labcontainer.engine.image_builds import BuildRequest
from labcontainer.engine.images import Images
from labcontainer.image import auth, reference, registries, session
from labcontainer.image.progress import Event
from labcontainer.image.registries import Place
from labcontainer.image.snapshots import Snapshots
from labcontainer.image.store import Store
from labcontainer.registry.repositories import Repositories
from labcontainer.registry.server import Options as Served
from labcontainer.registry.server import Server
from tests.unit import images

FILES = {"etc/": None, "etc/hello": b"hello"}


@pytest.fixture(autouse=True)
def nobodys_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon's own login is there, and must not be looked at."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("LABCONTAINER_HOME", str(tmp_path / "home"))

    def found(_registry: str) -> None:
        raise AssertionError("the daemon looked for a login of its own")

    monkeypatch.setattr(auth, "find", found)


@pytest.fixture
def lab(tmp_path: Path) -> Images:
    return Images(Store(f"{tmp_path}/images"), Events())


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    server = Server(Repositories(str(tmp_path / "registry")), Served(port=0))
    server.start()
    yield server.url.partition("://")[2]
    server.shutdown()
    server.server_close()


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No registry is in reach."""
    monkeypatch.setattr(registries, "place", lambda name, **_: Place("http://127.0.0.1:1", name))


def test_progress_is_dockers() -> None:
    assert image_transfer.document(Event("", "Digest: x")) == {"status": "Digest: x"}
    assert image_transfer.document(Event("abc", "Pull complete")) == {
        "status": "Pull complete", "progressDetail": {}, "id": "abc"}  # fmt: skip
    assert image_transfer.document(Event("abc", "Downloading", 1, 2)) == {
        "status": "Downloading", "progressDetail": {"current": 1, "total": 2}, "id": "abc",
    }  # fmt: skip


def test_names_of_a_request() -> None:
    digest = f"sha256:{'0' * 64}"
    assert image_transfer.asked("busybox", "").tag == ""
    assert image_transfer.asked("busybox:1", "2").familiar == "busybox:2"
    assert image_transfer.asked("busybox", digest).familiar == f"busybox@{digest}"
    assert image_transfer.named("", "1") is None
    made = image_transfer.named("app", "")
    assert made is not None
    assert made.familiar == "app:latest"
    with pytest.raises(errors.UsageError, match="digest"):
        image_transfer.named("app", digest)
    with pytest.raises(errors.UsageError):
        image_transfer.asked("app", "a/b")


def test_nothing_is_told_before_the_registry_has_shown_the_image(lab: Images, host: str) -> None:
    told: list[dict[str, Any]] = []
    name = reference.parse(f"{host}/app:1")
    with pytest.raises(errors.NotFoundError) as raised:
        image_transfer.pull(lab, name, told.append)
    assert told == []
    assert str(raised.value) == (
        f"manifest for {host}/app:1 not found: manifest unknown: manifest 1 is not in app"
    )
    images.image(lab.store, FILES, names=(name.canonical,))
    image_transfer.push(lab, name, told.append)
    assert told[0] == {"status": f"The push refers to repository [{host}/app]"}
    lab.remove(name.familiar)
    told.clear()
    image_transfer.pull(lab, name, told.append)
    assert told[0] == {"status": "Pulling from app", "progressDetail": {}, "id": "1"}
    assert told[-1] == {"status": f"Status: Downloaded newer image for {host}/app:1"}


def test_an_image_without_layers_comes_too(lab: Images, host: str) -> None:
    name = reference.parse(f"{host}/empty:1")
    images.image(lab.store, names=(name.canonical,))
    told: list[dict[str, Any]] = []
    image_transfer.push(lab, name, told.append)
    lab.remove(name.familiar)
    told.clear()
    image_transfer.pull(lab, name, told.append)
    assert [one["status"].partition(" ")[0] for one in told] == ["Pulling", "Digest:", "Status:"]


@pytest.mark.usefixtures("nowhere")
def test_busybox_is_made_of_the_machine_where_no_registry_is_in_reach(lab: Images) -> None:
    told: list[dict[str, Any]] = []
    image_transfer.pull(lab, reference.parse("busybox"), told.append)
    assert (
        "docker.io cannot be reached: making busybox:latest of this machine's" in told[0]["status"]
    )
    assert lab.find("busybox").config.config["Cmd"] == ["sh"]
    with pytest.raises(errors.LabError, match="cannot reach"):
        image_transfer.pull(lab, reference.parse("busybox:1.36"), told.append)
    with pytest.raises(errors.LabError, match="cannot reach"):
        image_transfer.pull(lab, reference.parse("debian"), told.append)


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        ("h: GET /v2/a/manifests/1: MANIFEST_UNKNOWN: no 1", 404, "manifest unknown: no 1"),
        ("h: GET /v2/a: UNAUTHORIZED: who?; log in by `x`", 401, "unauthorized: who?"),
        ("h: HEAD /v2/a/blobs/x: HTTP status 401", 401, "unauthorized: authentication required"),
        ("h: GET /v2/: HTTP status 418", 418, "h: GET /v2/: HTTP status 418"),
        ("cannot reach http://h: refused", 0, "cannot reach http://h: refused"),
    ],
)
def test_words_of_a_registry(said: str, status: int, words: str) -> None:
    assert image_transfer.words_of(session.RegistryError(said, status)) == words


# --- search ---------------------------------------------------------------------------------------


@pytest.fixture
def index() -> Iterator[tuple[str, list[Any]]]:
    """An index that answers with what the list says."""
    answers: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = answers[0] if isinstance(answers[0], bytes) else json.dumps(answers[0]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            answers.append(self.path)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}", answers
    server.shutdown()
    server.server_close()


def test_search(index: tuple[str, list[Any]]) -> None:
    host, answers = index
    line = {"name": "a", "description": None, "star_count": 7, "is_official": True, "more": 1}
    answers.append({"results": [line, {"name": "b"}]})
    found = image_search.search(f"{host}/word", 0, {}, None)
    assert answers[-1] == "/v1/search?q=word&n=25"
    assert found[0] == {"name": "a", "description": "", "star_count": 7, "is_official": True,
                        "is_automated": False}  # fmt: skip
    assert [one["name"] for one in found] == ["a", "b"]
    for wanted in ({"stars": ["3"]}, {"is-official": ["true"]}):
        assert len(image_search.search(f"{host}/word", 5, wanted, None)) == 1
    for wanted in ({"stars": ["many"]}, {"nosuch": ["1"]}, {"is-official": ["perhaps"]}):
        with pytest.raises(errors.UsageError):
            image_search.search(f"{host}/word", 5, wanted, None)
    for limit in (-1, 101):
        with pytest.raises(errors.UsageError, match="limit"):
            image_search.search(f"{host}/word", limit, {}, None)


@pytest.mark.parametrize("answer", [b"no JSON", b"[]", b'{"results": 5}', b'{"results": ["a"]}'])
def test_an_index_that_is_none(index: tuple[str, list[Any]], answer: bytes) -> None:
    host, answers = index
    answers.append(answer)
    with pytest.raises(session.RegistryError, match="no JSON of one"):
        image_search.search(f"{host}/word", 0, {}, None)


# --- commit, builds -------------------------------------------------------------------------------


def test_commit_lays_the_changes_over_the_image(lab: Images) -> None:
    base = images.image(lab.store, FILES, names=("app",), Cmd=["sh"])
    changed, _ = images.archive({"etc/new": b"new"})
    config = {"Cmd": ["sh"], "Env": ["A=b"], "Hostname": "box", "Tty": True, "Labels": {}}
    identity = lab.commit(io.BytesIO(changed), base.id, config, repository="made", tag="2",
                          author="me", comment="why", changes=["ENV C=d"])  # fmt: skip
    made = lab.find("made:2")
    assert (made.id, made.config.author) == (identity, "me")
    assert made.config.config == {"Cmd": ["sh"], "Env": ["A=b", "C=d"]}
    assert made.config.history[-1]["comment"] == "why"
    assert len(made.config.diff_ids) == len(base.config.diff_ids) + 1
    with lab.store.lease():
        top = Snapshots(lab.store).unpack(made)[0]
    assert Path(top, "etc/new").read_bytes() == b"new"
    for wrong in ({"repository": "UPPER"}, {"changes": ["RUN sh"]}):
        with pytest.raises(errors.UsageError):
            lab.commit(io.BytesIO(changed), base.id, config, **wrong)


def test_usage_counts_layers_once(lab: Images) -> None:
    images.image(lab.store, FILES, names=("one",))
    images.image(lab.store, FILES, {"a": b"1"}, names=("two",))
    Cache(lab.store).put("0" * 64, Cached("2026-01-01T00:00:00Z"))
    found = lab.usage(containers=lambda _identity: 3)
    sizes = {one["RepoTags"][0]: one["Size"] for one in found["Images"]}
    assert found["LayersSize"] == sizes["two:latest"]
    assert {one["Containers"] for one in found["Images"]} == {3}
    assert [one["ID"] for one in found["BuildCache"]] == ["0" * 64]


def test_a_build_without_steps_needs_no_container(lab: Images) -> None:
    told: list[dict[str, Any]] = []
    images.image(lab.store, FILES, names=("base",))
    options = Options(names=("app",), side_by_side=False, login=lambda _registry: None)
    with lab.builds.begun() as running:
        stream = io.BytesIO(b"FROM base\nENV A=b\n")
        image = running.run(BuildRequest(options), stream, told.append)
    assert lab.find("app").id == image.id
    assert {"aux": {"ID": image.id}} in told
    assert told[0] == {"stream": "Step 1/2 : FROM base\n"}


@pytest.mark.usefixtures("nowhere")
def test_a_build_asks_registries_as_its_client_and_is_stopped(lab: Images) -> None:
    asked: list[str] = []

    def login(registry: str) -> None:
        asked.append(registry)

    options = Options(side_by_side=False, login=login)
    with lab.builds.begun("mine") as running:
        with pytest.raises(errors.LabError, match="cannot reach"):
            running.run(BuildRequest(options), io.BytesIO(b"FROM quay.io/x\n"), print)
        assert asked == ["quay.io"]
        lab.builds.cancel("mine")
        with pytest.raises(errors.LabError, match="stopped"):
            running.run(BuildRequest(options), io.BytesIO(b"FROM scratch\nENV A=b\n"), print)
    lab.builds.cancel("mine")
