"""Archives of images: what is written comes back, old forms are read, tampered ones refused."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labcontainer import errors
from labcontainer.image import archive, compression, documents, importing, reference
from labcontainer.image.documents import Descriptor, Index, Platform
from labcontainer.image.snapshots import Snapshots
from labcontainer.image.store import Image, Store
from tests.unit import images

FILES = {"etc/": None, "etc/hello": b"hello"}


@pytest.fixture
def lab(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "lab"))


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "other"))


def saved(store: Store, *names: str) -> bytes:
    out = io.BytesIO()
    archive.save(store, names, out)
    return out.getvalue()


def members(data: bytes) -> dict[str, bytes]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as file:
        for member in file:
            content = file.extractfile(member)
            found[member.name] = content.read() if content else b""
    return found


def tar(files: dict[str, bytes | str]) -> bytes:
    """An archive of these files; a text is the target of a link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            if isinstance(data, str):
                info.type, info.linkname = tarfile.SYMTYPE, data
                file.addfile(info)
            else:
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize("kind", ["gzip", "zstd", "none"])
def test_what_is_saved_comes_back(lab: Store, other: Store, kind: str) -> None:
    made = images.image(lab, FILES, {"b": b"2"}, names=("app:1", "team/app:2"), kind=kind)
    data = saved(lab, "app:1", "team/app:2")
    assert [name for name, _ in archive.load(other, io.BytesIO(data))] == ["app:1", "team/app:2"]
    found = other.image("app:1")
    assert (found.id, found.descriptor, set(found.tags)) == (
        made.id, made.descriptor, {"app:1", "team/app:2"})  # fmt: skip
    assert saved(other, "app:1", "team/app:2") == data
    with other.lease():
        lowers = Snapshots(other).unpack(found)
    assert Path(lowers[1], "etc/hello").read_bytes() == b"hello"


def test_what_is_saved_is_what_docker_reads(lab: Store) -> None:
    made = images.image(lab, FILES, names=("app:1",))
    files = members(saved(lab, "app:1"))
    (entry,) = json.loads(files["manifest.json"])
    assert entry["RepoTags"] == ["app:1"]
    assert documents.digest_of(files[entry["Config"]]) == made.id
    assert [documents.digest_of(files[path]) for path in entry["Layers"]] == [
        made.manifest.layers[0].digest]  # fmt: skip
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}


def test_an_image_saved_by_its_id_has_no_name(lab: Store, other: Store) -> None:
    made = images.image(lab, FILES, names=("app:1",))
    ((name, found),) = archive.load(other, io.BytesIO(saved(lab, made.id)))
    assert (name, found.id, found.tags) == ("", made.id, ())


def test_nothing_is_written_when_one_is_missing(lab: Store) -> None:
    images.image(lab, FILES, names=("app:1",))
    out = io.BytesIO()
    with pytest.raises(errors.NotFoundError, match="No such image: app:2"):
        archive.save(lab, ["app:1", "app:2"], out)
    assert out.getvalue() == b""


LAYER, DIFF_ID = images.archive({"f": b"content"})
CONFIG = documents.ImageConfig(
    documents.host_platform(), (DIFF_ID, DIFF_ID), {"Cmd": ["sh"]}
).encode()


def old_form(**changes: Any) -> dict[str, bytes | str]:
    """As Docker wrote it up to 24: a directory for each layer, the second of which is a link."""
    listed = [
        {"Config": "c.json", "RepoTags": ["old:1"], "Layers": ["one/layer.tar", "two/layer.tar"]}
    ]
    files: dict[str, bytes | str] = {
        "one/VERSION": b"1.0", "one/json": b"{}", "one/layer.tar": LAYER,
        "two/layer.tar": "../one/layer.tar", "c.json": CONFIG,
        "manifest.json": json.dumps(listed).encode(), "repositories": b"{}",
    }  # fmt: skip
    return {**files, **changes}


def test_the_old_form(lab: Store) -> None:
    ((name, found),) = archive.load(lab, io.BytesIO(tar(old_form())))
    assert (name, found.config.diff_ids) == ("old:1", (DIFF_ID, DIFF_ID))
    assert found.id == documents.digest_of(CONFIG)


OTHER_LAYER = images.archive({"f": b"evil"})[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"one/layer.tar": OTHER_LAYER}, "the archive's layer has the digest"),
        ({"one/layer.tar": "../nowhere"}, "is not in the archive"),
        ({"one/layer.tar": "../two/layer.tar"}, "is not in the archive"),
        ({"c.json": b"no json"}, "no JSON"),
        ({"manifest.json": b"[]"}, "names no image"),
        ({"manifest.json": b"{}"}, "names no image"),
        ({"manifest.json": b"[1]"}, "not as docker save writes it"),
        ({"manifest.json": b'[{"Config": "/etc/passwd", "Layers": []}]'}, "is not in the archive"),
        ({"manifest.json": b'[{"Config": "c.json", "RepoTags": ["A"],"Layers":[]}]'}, "reference"),
        ({"manifest.json": b'[{"Config": "c.json", "Layers": []}]'}, "2 diff_ids for 0 layers"),
        ({"manifest.json": b" " * (5 << 20)}, "more than 4194304"),
        ({"blobs/sha256/" + "0" * 64: b"x"}, "the content's digest is"),
        ({"blobs/md5/" + "0" * 32: b"x"}, "no sha256"),
    ],
)  # fmt: skip
def test_a_bad_archive_is_one_line_and_names_nothing(
    lab: Store, changes: dict[str, bytes | str], said: str
) -> None:
    with pytest.raises(errors.LabError, match=said) as caught:
        archive.load(lab, io.BytesIO(tar(old_form(**changes))))
    assert "\n" not in str(caught.value)
    assert lab.names() == {}
    lab.collect()
    assert lab.images() == []


def test_an_archive_without_an_image(lab: Store) -> None:
    with pytest.raises(errors.LabError, match="holds no image"):
        archive.load(lab, io.BytesIO(tar({"file": b"x"})))
    lab.collect()
    assert list(lab.blobs.all()) == []


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_any_change_of_a_byte_names_the_right_image_or_none(
    tmp_path: Path, data: st.DataObject
) -> None:
    lab = Store(str(tmp_path / "lab"))
    made = images.image(lab, FILES, names=("app:1",))
    bad = bytearray(saved(lab, "app:1"))
    bad[data.draw(st.integers(0, len(bad) - 1))] ^= data.draw(st.integers(1, 255))
    other = Store(str(tmp_path / f"other{data.draw(st.uuids())}"))
    try:
        archive.load(other, io.BytesIO(bytes(bad)))
    except errors.LabError:
        pass
    for name, descriptor in other.names().items():
        assert other.open(descriptor).id == made.id, name


def multi_platform(store: Store, name: str) -> tuple[Image, Image]:
    """An index of this machine's image, another's, and one that was never fetched."""
    mine, theirs = (images.image(store, {"arch": word}) for word in (b"mine", b"theirs"))
    missing = Descriptor(documents.OCI_MANIFEST, f"sha256:{'0' * 64}", 5)
    entries = (
        mine.descriptor.replace(platform=documents.host_platform()),
        theirs.descriptor.replace(platform=Platform("linux", "s390x")),
        missing.replace(platform=Platform("linux", "mips")),
    )
    put_index(store, entries, name)
    return mine, theirs


def put_index(store: Store, entries: tuple[Descriptor, ...], name: str = "") -> Descriptor:
    data = Index(documents.OCI_INDEX, entries).encode()
    found = Descriptor(documents.OCI_INDEX, store.blobs.write(data), len(data))
    if name:
        store.tag(name, found)
    return found


@pytest.mark.parametrize("form", ["archive", "layout"])
def test_an_image_for_several_platforms(
    lab: Store, other: Store, tmp_path: Path, form: str
) -> None:
    mine, theirs = multi_platform(lab, "multi:1")
    if form == "archive":
        found = archive.load(other, io.BytesIO(saved(lab, "multi:1")))
    else:
        archive.export_layout(lab, ["multi:1"], str(tmp_path / "layout"))
        found = archive.import_layout(other, str(tmp_path / "layout"))
    assert [(name, image.id) for name, image in found] == [("multi:1", mine.id)]
    index = other.resolve("multi:1")
    assert index == lab.resolve("multi:1")
    assert other.manifest(index, Platform("linux", "s390x")) == theirs.manifest
    assert other.blobs.has(theirs.manifest.layers[0].digest)


def test_indexes_without_end_are_one_error(lab: Store) -> None:
    inner = images.image(lab, FILES).descriptor
    for _ in range(40):
        inner = put_index(lab, (inner.replace(platform=documents.host_platform()),))
    lab.tag("deep:1", inner)
    with pytest.raises(errors.SpecError, match="deep within indexes"):
        lab.image("deep:1")
    with pytest.raises(errors.SpecError, match="indexes in one another"):
        list(archive.blobs_of(lab, inner))


def test_an_archive_that_lacks_a_layer_names_nothing(lab: Store, other: Store) -> None:
    made = images.image(lab, FILES, names=("app:1",))
    files = members(saved(lab, "app:1"))
    layer = made.manifest.layers[0].digest
    kept = {name: data for name, data in files.items() if data and layer[7:] not in name}
    with pytest.raises(errors.SpecError, match="is missing"):
        archive.load(other, io.BytesIO(tar(dict(kept))))
    assert other.names() == {}
    os.unlink(lab.blobs.path(layer))
    out = io.BytesIO()
    with pytest.raises(errors.NotFoundError, match=layer):
        archive.save(lab, ["app:1"], out)
    assert out.getvalue() == b""


def test_a_packed_archive_and_a_bomb(lab: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tar(old_form(more=bytes(4 << 20)))
    ((name, _),) = archive.load(lab, io.BytesIO(gzip.compress(data)))
    assert name == "old:1"
    monkeypatch.setattr(compression.Reader.__init__, "__kwdefaults__", {"ratio": 20, "small": 9999})
    with pytest.raises(errors.LabError, match="bomb"):
        archive.load(lab, io.BytesIO(gzip.compress(data)))


# --- layouts --------------------------------------------------------------------------------------


def test_a_layout_directory_there_and_back(lab: Store, other: Store, tmp_path: Path) -> None:
    made = images.image(lab, FILES, names=("app:1",))
    archive.export_layout(lab, ["app:1"], str(tmp_path / "layout"))
    images.image(lab, {"x": b"y"}, names=("second",))
    archive.export_layout(lab, ["second"], str(tmp_path / "layout"))
    found = archive.import_layout(other, str(tmp_path / "layout"))
    assert [name for name, _ in found] == ["app:1", "second:latest"]
    assert other.image("app:1").id == made.id
    with pytest.raises(errors.NotFoundError, match="no OCI layout"):
        archive.import_layout(other, str(tmp_path))


def test_a_tampered_blob_of_a_layout_is_refused(lab: Store, other: Store, tmp_path: Path) -> None:
    made = images.image(lab, FILES, names=("app:1",))
    archive.export_layout(lab, ["app:1"], str(tmp_path / "layout"))
    blob = Store(str(tmp_path / "layout")).blobs.path(made.manifest.layers[0].digest)
    os.chmod(blob, 0o644)
    Path(blob).write_bytes(b"evil" + Path(blob).read_bytes()[4:])
    with pytest.raises(errors.SpecError, match="digest is"):
        archive.import_layout(other, str(tmp_path / "layout"))
    assert other.names() == {}


# --- import ---------------------------------------------------------------------------------------


def test_a_root_file_system_becomes_an_image(lab: Store) -> None:
    made = importing.import_root(lab, io.BytesIO(LAYER), {"Cmd": ["f"]}, [reference.parse("root")],
                                 documents.host_platform(), "by hand")  # fmt: skip
    assert (made.tags, made.config.diff_ids) == (("root:latest",), (DIFF_ID,))
    assert made.config.history[0]["comment"] == "by hand"
    with lab.lease():
        (lower,) = Snapshots(lab).unpack(made)
    assert Path(lower, "f").read_bytes() == b"content"
    with pytest.raises(errors.LabError, match="no tar archive"):
        importing.import_root(lab, io.BytesIO(b"x" * 1000), {}, [], documents.host_platform())
