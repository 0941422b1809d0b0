"""The registry as a process of its own: real clients, and a server that is killed."""

from __future__ import annotations

import hashlib
import http.client
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labcontainer.image.store import Store
from tests.unit import images


@contextmanager
def served(storage: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`labcontainer registry serve` for the block: its HOST:PORT, and the process."""
    command = [sys.executable, "-m", "labcontainer.cli.main", "registry", "serve",
               "--listen", "127.0.0.1:0", "--storage", str(storage)]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip().rpartition("//")[2], process
        finally:
            process.kill()


def ask(host: str, verb: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.request(verb, path, body, {"Content-Type": "application/octet-stream"})
    answer = connection.getresponse()
    try:
        return answer.status, dict(answer.headers), answer.read()
    finally:
        connection.close()


def path_of(location: str) -> str:
    return "/v2/" + location.partition("/v2/")[2]


def test_an_upload_goes_on_after_the_server_was_killed(tmp_path: Path) -> None:
    data = os.urandom(1 << 20)
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    with served(tmp_path / "registry") as (host, process):
        place = path_of(ask(host, "POST", "/v2/a/b/blobs/uploads/")[1]["Location"])
        assert ask(host, "PATCH", place, data[:300_000])[0] == 202
        process.kill()
    with served(tmp_path / "registry") as (host, _):
        status, headers, _said = ask(host, "GET", place)
        assert (status, headers["Range"]) == (204, "0-299999")
        place = path_of(ask(host, "PATCH", place, data[300_000:])[1]["Location"])
        mark = "&" if "?" in place else "?"
        assert ask(host, "PUT", f"{place}{mark}digest={digest}")[0] == 201
        assert ask(host, "GET", f"/v2/a/b/blobs/{digest}")[2] == data


def test_skopeo_copies_from_it_and_to_it(tmp_path: Path) -> None:
    from labcontainer.image import push, reference

    lab = Store(str(tmp_path / "lab"))
    with served(tmp_path / "registry") as (host, _):
        made = images.image(lab, {"etc/": None, "etc/a": b"a"}, names=(f"{host}/x/a:1",))
        push.push(lab, reference.parse(f"{host}/x/a:1"))
        plain = ["--src-tls-verify=false", "--dest-tls-verify=false"]
        layout = f"oci:{tmp_path}/layout:1"
        for source, target in ((f"docker://{host}/x/a:1", layout),
                               (layout, f"docker://{host}/y/b:2")):  # fmt: skip
            subprocess.run(["skopeo", "copy", "-q", *plain, source, target], check=True, timeout=60)
        status, headers, _said = ask(host, "HEAD", "/v2/y/b/manifests/2")
        assert (status, headers["Docker-Content-Digest"]) == (200, made.descriptor.digest)
