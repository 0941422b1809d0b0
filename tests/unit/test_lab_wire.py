"""The registry beside a lesson: it answers, counts, and ends with its block."""

from __future__ import annotations

import base64
import json
import urllib.error
from pathlib import Path

import pytest

from labcontainer.image import documents
from labcontainer.lab import wire

DATA = b"some bytes"
DIGEST = documents.digest_of(DATA)


def test_what_is_sent_and_received_is_counted(tmp_path: Path) -> None:
    with wire.serve(str(tmp_path)) as registry:
        where = wire.ask("POST", f"{registry.url}/v2/app/blobs/uploads/").location
        assert wire.ask("PUT", f"{where}?digest={DIGEST}", body=DATA).status == 201
        assert wire.ask("GET", f"{registry.url}/v2/app/blobs/{DIGEST}").body == DATA
        assert wire.ask("HEAD", f"{registry.url}/v2/app/blobs/{DIGEST}").status == 200
        log = registry.log()
        assert registry.received() == len(DATA) and registry.has("app", DIGEST)
    assert [(line.method, line.status) for line in log] == [
        *(("POST", 202), ("PUT", 201), ("GET", 200), ("HEAD", 200))
    ]
    assert [line.sent for line in log] == [0, 0, len(DATA), 0]


def test_what_was_put_from_behind_is_there(tmp_path: Path) -> None:
    wire.keep(str(tmp_path), "app", DATA)
    path = wire.half(str(tmp_path), "app", DATA[:4])
    with wire.serve(str(tmp_path)) as registry:
        assert wire.ask("HEAD", f"{registry.url}/v2/app/blobs/{DIGEST}").status == 200
        assert wire.ask("GET", registry.url + path).headers["range"] == "0-3"


def test_the_server_ends_with_its_block(tmp_path: Path) -> None:
    with pytest.raises(KeyError), wire.serve(str(tmp_path)) as registry:
        raise KeyError
    with pytest.raises((OSError, urllib.error.URLError)):
        wire.ask("GET", f"{registry.url}/v2/")
    assert not Path(registry.file).exists()


def test_a_token_is_good_for_its_scope_alone() -> None:
    basic = base64.b64encode(b"ada:secret").decode()
    texts = {"/v2/a/manifests/1": "of a", "/v2/b/manifests/1": "of b"}
    with wire.guarded(texts, "ada", "secret") as door:
        address = f"{door.url}/token?service=lab&scope=repository:a:pull"
        assert wire.ask("GET", address).status == 401
        given = wire.ask("GET", address, {"Authorization": f"Basic {basic}"})
        shown = {"Authorization": f"Bearer {json.loads(given.body)['token']}"}
        assert wire.ask("GET", f"{door.url}/v2/a/manifests/1", shown).body == b"of a"
        other = wire.ask("GET", f"{door.url}/v2/b/manifests/1", shown)
        assert other.status == 401 and "repository:b:pull" in other.headers["www-authenticate"]
        assert [line.authorization for line in door.log()] == ["", "Basic", "Bearer", "Bearer"]
