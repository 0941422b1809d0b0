"""Other tools read what we write and write what we read: skopeo, umoci, podman, buildah, docker."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from labcontainer.image import archive, hostbase, hostimage, pull, push, reference
from labcontainer.image.snapshots import Snapshots
from labcontainer.image.store import Image, Store
from labcontainer.registry.repositories import Repositories
from labcontainer.registry.server import Options, Server

pytestmark = pytest.mark.requires("root", "busybox", "skopeo", "umoci", "podman", "buildah")


def tool(*words: str | Path, **surroundings: str) -> str:
    """What a tool that must succeed prints."""
    line = [str(word) for word in words]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=100,
                          env={**os.environ, **surroundings})  # fmt: skip
    assert done.returncode == 0, f"{words}: {done.stderr}{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(str(tmp_path_factory.mktemp("lab") / "images"))
    hostimage.make(store, hostbase.recipe("busybox"), "busybox:1")
    return store


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "other"))


@pytest.fixture
def made(lab: Store) -> Image:
    return lab.image("busybox:1")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    server = Server(Repositories(str(tmp_path / "registry")), Options(port=0))
    server.start()
    yield server.url.partition("://")[2]
    server.shutdown()
    server.server_close()


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[list[str]]:
    """podman with a store of its own, that needs no mount; it takes no longer path than 50."""
    with tempfile.TemporaryDirectory(prefix="lc-podman-") as place:
        words = ["podman", f"--root={tmp_path}/podman", f"--runroot={place}",
                 "--storage-driver=vfs", "--cgroup-manager=cgroupfs"]  # fmt: skip
        yield words
        subprocess.run([*words, "rmi", "--all", "--force"], capture_output=True, check=False)


def saved(store: Store, name: str, path: Path) -> Path:
    with path.open("wb") as file:
        archive.save(store, [name], file)
    return path


def loaded(store: Store, path: Path) -> list[tuple[str, Image]]:
    with path.open("rb") as file:
        return archive.load(store, file)


# --- archives and layouts -----------------------------------------------------------------------


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_skopeo_reads_our_archive(lab: Store, made: Image, tmp_path: Path, form: str) -> None:
    path = saved(lab, "busybox:1", tmp_path / "a.tar")
    found = json.loads(tool("skopeo", "inspect", "--config", f"{form}:{path}"))
    assert tuple(found["rootfs"]["diff_ids"]) == made.config.diff_ids
    assert found["config"]["Cmd"] == ["sh"]


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci"])
def test_we_read_what_skopeo_writes(
    lab: Store, made: Image, other: Store, tmp_path: Path, form: str
) -> None:
    path = saved(lab, "busybox:1", tmp_path / "a.tar")
    written = tmp_path / "written"
    tool("skopeo", "copy", f"docker-archive:{path}", f"{form}:{written}:docker.io/library/again:2")
    if form == "oci":
        ((name, found),) = archive.import_layout(other, str(written))
    else:
        ((name, found),) = loaded(other, written)
    assert name == "again:2"
    assert found.config.diff_ids == made.config.diff_ids
    assert found.config.config["Cmd"] == ["sh"]


def test_skopeo_reads_the_store_itself(lab: Store, made: Image) -> None:
    shown = tool("skopeo", "inspect", f"oci:{lab.path}:docker.io/library/busybox:1")
    assert json.loads(shown)["Digest"] == made.descriptor.digest


def test_umoci_unpacks_our_layout_and_we_read_its_changes(
    lab: Store, other: Store, tmp_path: Path
) -> None:
    layout = tmp_path / "layout"
    archive.export_layout(lab, ["busybox:1"], str(layout))
    # umoci takes a tag alone for a name: give the image one of that kind.
    index = json.loads((layout / "index.json").read_text())
    index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] = "one"
    (layout / "index.json").write_text(json.dumps(index))
    tool("umoci", "unpack", "--image", f"{layout}:one", tmp_path / "bundle")
    root = tmp_path / "bundle/rootfs"
    assert (root / "usr/bin/busybox").stat().st_mode & 0o111
    (root / "etc/added").write_text("by umoci")
    (root / "etc/passwd").unlink()
    (root / "usr/bin/[").unlink()
    tool("umoci", "repack", "--image", f"{layout}:two", tmp_path / "bundle")
    tool("umoci", "config", "--image", f"{layout}:two", "--config.cmd", "id")
    found = {image.config.config.get("Cmd", [""])[0]: image
             for _, image in archive.import_layout(other, str(layout))}["id"]  # fmt: skip
    flat = tmp_path / "flat"
    flat.mkdir()
    Snapshots(other).flatten(found, str(flat))
    assert (flat / "etc/added").read_text() == "by umoci"
    assert not (flat / "etc/passwd").exists()
    assert not (flat / "usr/bin/[").exists()
    assert (flat / "usr/bin/busybox").exists()


def test_podman_loads_runs_and_saves_it(
    lab: Store, other: Store, podman: list[str], tmp_path: Path
) -> None:
    path = saved(lab, "busybox:1", tmp_path / "a.tar")
    assert "busybox:1" in tool(*podman, "load", "--input", path)
    for form in ("docker-archive", "oci-archive"):
        out = tmp_path / f"{form}.tar"
        tool(*podman, "save", f"--format={form}", "--output", out, "docker.io/library/busybox:1")
        ((name, found),) = loaded(other, out)
        assert name == "busybox:1"
        assert found.config.diff_ids == lab.image("busybox:1").config.diff_ids


def test_an_image_that_buildah_made(other: Store, podman: list[str], tmp_path: Path) -> None:
    """Layers with a whiteout, an opaque directory and a hard link, made by another tool's hands."""
    (tmp_path / "context").mkdir()
    (tmp_path / "context/Dockerfile").write_text(
        'FROM scratch\nCOPY one /d/one\nCOPY two /d/two\nENV A=b\nCMD ["/d/one"]\n'
    )
    for name in ("one", "two"):
        (tmp_path / "context" / name).write_text(name)
    tool("buildah", *podman[1:4], "bud", "--layers", "--tag", "made", tmp_path / "context")
    out = tmp_path / "made.tar"
    tool(*podman, "save", "--format=oci-archive", "--output", out, "localhost/made")
    ((name, found),) = loaded(other, out)
    assert name == "localhost/made:latest"
    assert "A=b" in found.config.config["Env"]
    with other.lease():
        lowers = Snapshots(other).unpack(found)
    there = {path.name for lower in lowers for path in Path(lower).glob("d/*")}
    assert there == {"one", "two"}


# --- the registry -------------------------------------------------------------------------------


def test_skopeo_copies_to_our_registry_and_from_it(
    lab: Store, made: Image, other: Store, host: str, tmp_path: Path
) -> None:
    path = saved(lab, "busybox:1", tmp_path / "a.tar")
    there = f"docker://{host}/team/app:1"
    tool("skopeo", "copy", "--dest-tls-verify=false", f"docker-archive:{path}", there)
    found = pull.pull(other, reference.parse(f"{host}/team/app:1"))
    assert found.image.config.diff_ids == made.config.diff_ids
    push.push(other, reference.parse(f"{host}/team/app:1"))
    tool("skopeo", "copy", "--src-tls-verify=false", there, f"oci:{tmp_path}/layout:x")
    tool("skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", there,
         f"docker://{host}/copy:2")  # fmt: skip
    listed = tool("skopeo", "list-tags", "--tls-verify=false", f"docker://{host}/copy")
    assert json.loads(listed)["Tags"] == ["2"]
    tool("skopeo", "delete", "--tls-verify=false", f"docker://{host}/copy:2")


def test_podman_pushes_and_pulls(
    lab: Store, made: Image, other: Store, host: str, podman: list[str], tmp_path: Path
) -> None:
    lab.tag(f"{host}/app:1", made.descriptor)
    push.push(lab, reference.parse(f"{host}/app:1"))
    tool(*podman, "pull", "--tls-verify=false", f"{host}/app:1")
    tool(*podman, "tag", f"{host}/app:1", f"{host}/app:podman")
    tool(*podman, "push", "--tls-verify=false", f"{host}/app:podman")
    found = pull.pull(other, reference.parse(f"{host}/app:podman")).image
    assert found.config.diff_ids == made.config.diff_ids
    lab.untag(f"{host}/app:1")
