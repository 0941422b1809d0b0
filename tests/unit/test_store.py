"""The image store: names, removal, collection, several processes, kills and full disks."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labcontainer import errors
from labcontainer.image import documents, store
from labcontainer.image.documents import Descriptor
from labcontainer.image.snapshots import Snapshots
from labcontainer.image.store import Store
from labcontainer.kernel import locks
from tests.unit import images

FILES = {"etc/": None, "etc/hello": b"hello"}


@pytest.fixture
def lab(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "images"))


def digests(lab: Store) -> set[str]:
    return set(lab.blobs.all())


def test_a_store_that_was_never_used_is_empty_and_makes_nothing(lab: Store) -> None:
    assert (lab.images(), lab.names(), list(lab.blobs.all())) == ([], {}, [])
    with pytest.raises(errors.NotFoundError, match="No such image: nothing:latest"):
        lab.image("nothing")
    assert not os.path.exists(lab.path)


def test_an_image_by_name_id_and_prefix(lab: Store) -> None:
    made = images.image(lab, FILES, names=("app:1", "app:2"), Cmd=["sh"])
    for word in ("app:1", "docker.io/library/app:2", made.id, made.id[7:], made.id[7:19]):
        assert lab.image(word).id == made.id
    assert lab.image("app:1").tags == ("app:1", "app:2")
    for word in ("app", "app:3", "0" * 64, "sha256:" + "0" * 64):
        with pytest.raises(errors.NotFoundError, match="No such image"):
            lab.image(word)


def test_other_tools_can_read_the_store(lab: Store) -> None:
    made = images.image(lab, FILES, names=("app",))
    layout = json.loads(Path(lab.path, "oci-layout").read_text())
    index = json.loads(Path(lab.path, "index.json").read_text())
    assert layout == {"imageLayoutVersion": "1.0.0"}
    assert [(one["digest"], one["annotations"]) for one in index["manifests"]] == [
        (made.descriptor.digest, {store.NAME: "docker.io/library/app:latest"})]  # fmt: skip


def test_a_name_that_moves_leaves_its_image(lab: Store) -> None:
    old = images.image(lab, FILES, names=("app",))
    new = images.image(lab, {"x": b""}, names=("app",))
    assert lab.image("app").id == new.id
    assert {(one.id, one.tags) for one in lab.images()} == {(old.id, ()), (new.id, ("app:latest",))}


def test_removal_as_docker_does_it(lab: Store) -> None:
    made = images.image(lab, FILES, names=("a:1", "b:1"))
    with pytest.raises(errors.StateError, match="must be forced"):
        lab.remove(made.id)
    assert lab.remove("a:1") == [("untagged", "a:1")]
    with pytest.raises(errors.StateError, match="container x is using it"):
        lab.remove("b:1", in_use=lambda _identity: "container x is using it")
    assert lab.image("b:1").id == made.id
    assert lab.remove("b:1") == [("untagged", "b:1"), ("deleted", made.id)]
    assert digests(lab) == set()


def test_a_digest_goes_with_the_last_tag_of_its_repository(lab: Store) -> None:
    made = images.image(lab, FILES, names=("a:1", "b:1"))
    for name in ("a", "b"):
        lab.tag(f"{name}@{made.descriptor.digest}", made.descriptor)
    assert lab.image("a:1").digests == tuple(f"{n}@{made.descriptor.digest}" for n in "ab")
    assert lab.image(f"a@{made.descriptor.digest}").id == made.id
    assert lab.remove("a:1") == [("untagged", "a:1"), ("untagged", f"a@{made.descriptor.digest}")]


def test_layers_that_two_images_share_are_there_once_and_stay(lab: Store) -> None:
    one = images.image(lab, FILES, {"one": b"1"}, names=("one",))
    two = images.image(lab, FILES, {"two": b"2"}, names=("two",))
    assert one.manifest.layers[0] == two.manifest.layers[0]
    with lab.lease():
        lowers = [Snapshots(lab).unpack(image) for image in (one, two)]
    assert lowers[0][1] == lowers[1][1]
    assert Path(lowers[0][1], "etc/hello").read_bytes() == b"hello"
    lab.remove("one")
    assert not os.path.exists(lowers[0][0])
    assert os.path.exists(lowers[1][0])
    assert os.path.exists(lowers[1][1])
    assert lab.image("two").id == two.id
    for digest in lab.blobs.all():
        lab.blobs.read(digest)


@pytest.mark.parametrize("kind", ["gzip", "zstd", "none"])
def test_layers_in_every_packing_unpack_to_the_same(lab: Store, kind: str) -> None:
    made = images.image(lab, FILES, kind=kind)
    with lab.lease():
        (lower,) = Snapshots(lab).unpack(made)
    assert Path(lower, "etc/hello").read_bytes() == b"hello"
    assert Snapshots(lab).size(made) == 5


def test_a_layer_that_is_not_what_the_configuration_says(lab: Store) -> None:
    descriptor, _ = images.layer(lab, FILES)
    config = documents.ImageConfig(documents.host_platform(), ("sha256:" + "1" * 64,))
    made = lab.add_image(config, [descriptor])
    with pytest.raises(errors.SpecError, match="the layer's digest is"):
        Snapshots(lab).unpack(made)
    assert os.listdir(f"{lab.path}/layers") == []


# --- content ------------------------------------------------------------------------------------


def test_content_is_checked_when_written(lab: Store) -> None:
    right = documents.digest_of(b"right")
    for announced, size in ((right, -1), (right, 5)):
        with lab.blobs.writer(announced, size) as writer:
            writer.write(b"wrong")
            with pytest.raises(errors.SpecError, match="the content's digest is"):
                writer.commit()
    with (
        lab.blobs.writer(right, 4) as writer,
        pytest.raises(errors.SpecError, match="longer than 4"),
    ):
        writer.write(b"right")
    with lab.blobs.writer(right, 6) as writer:
        writer.write(b"right")
        with pytest.raises(errors.SpecError, match="6 were announced"):
            writer.commit()
    assert (digests(lab), os.listdir(f"{lab.path}/ingest")) == (set(), [])


def test_content_is_checked_when_read(lab: Store) -> None:
    digest = lab.blobs.write(b"right")
    os.chmod(lab.blobs.path(digest), 0o600)
    Path(lab.blobs.path(digest)).write_bytes(b"wrong")
    with pytest.raises(errors.SpecError, match="the disk changed it"):
        lab.blobs.read(digest)


def test_sha512(lab: Store) -> None:
    digest = lab.blobs.write(b"x", "sha512")
    assert digest == documents.digest_of(b"x", "sha512")
    assert lab.blobs.read(digest) == b"x"


def test_a_writer_goes_on_where_the_last_one_ended(lab: Store) -> None:
    with lab.blobs.writer(resume="one") as writer:
        writer.write(b"hal")
    assert lab.blobs.partial("one") == 3
    with lab.blobs.writer(documents.digest_of(b"half"), resume="one") as writer:
        assert writer.written == 3
        with pytest.raises(errors.StateError, match="is being written"):
            lab.blobs.writer(resume="one")
        writer.write(b"f")
        writer.commit()
    assert lab.blobs.read(documents.digest_of(b"half")) == b"half"


@pytest.mark.parametrize("word", ["", "sha256:", "sha256:../../../etc/passwd", "md5:" + "0" * 32])
def test_no_path_is_made_of_what_is_no_digest(lab: Store, word: str) -> None:
    with pytest.raises(errors.SpecError):
        lab.blobs.path(word)


# --- collection ---------------------------------------------------------------------------------


def test_what_nothing_names_goes_and_nothing_else(lab: Store) -> None:
    made = images.image(lab, FILES, names=("app",))
    kept = digests(lab)
    lost = lab.blobs.write(b"lost")
    assert lab.collect().blobs == (lost,)
    assert digests(lab) == kept
    assert lab.image("app").id == made.id


def test_a_lease_protects_what_is_written_and_asked_for_under_it(lab: Store) -> None:
    old, asked = lab.blobs.write(b"old"), lab.blobs.write(b"asked")
    for digest in (old, asked):
        os.utime(lab.blobs.path(digest), (1, 1))
    with lab.lease():
        new = lab.blobs.write(b"new")
        assert lab.blobs.has(asked)
        lab.collect()
        assert digests(lab) == {asked, new}
    lab.collect()
    assert digests(lab) == set()


HOLD = """
import sys
from labcontainer.image.store import Store
lab = Store(sys.argv[1])
with lab.lease():
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_a_lease_ends_with_its_process(lab: Store) -> None:
    lab.blobs.write(b"x")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, lab.path], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE)  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == b"ready\n"
    new = lab.blobs.write(b"y")
    lab.collect()
    assert new in digests(lab)
    holder.kill()
    holder.wait()
    holder.stdout.close()
    holder.stdin.close()
    lab.collect()
    assert digests(lab) == set()
    assert os.listdir(f"{lab.path}/leases") == []


# --- what happens between two calls of another process ------------------------------------------


def once(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, before: Callable[..., Any]
) -> None:
    """The next call of a function finds what somebody else did just before it."""
    real = getattr(module, name)

    def called(*args: Any) -> Any:
        monkeypatch.setattr(module, name, real)
        before(*args)
        return real(*args)

    monkeypatch.setattr(module, name, called)


def test_a_writer_that_comes_late_does_not_write_into_the_blob(
    lab: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one made a blob of the file after we had opened it, before we had the lock."""
    digest = documents.digest_of(b"whole")

    def commit(_fd: int) -> None:
        with lab.blobs.writer(digest, 5, resume="pull") as other:
            other.write(b"whole")
            other.commit()

    once(monkeypatch, locks, "hold", commit)
    with lab.blobs.writer(resume="pull") as late:
        assert late.written == 0
        late.begin_again()
        late.write(b"other")
    assert lab.blobs.read(digest) == b"whole"


@pytest.mark.parametrize("kind", ["blob", "layer"])
def test_a_collector_between_making_and_locking(
    lab: Store, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    once(monkeypatch, locks, "wait", lambda *_words: lab.collect())
    if kind == "blob":
        with lab.blobs.writer() as writer:
            writer.write(b"x")
            digest, _ = writer.commit()
        assert lab.blobs.read(digest) == b"x"
    else:
        data, diff_id = images.archive({"f": b"x"})
        Snapshots(lab).unpack_stream(io.BytesIO(data), diff_id)
        assert os.listdir(Snapshots(lab).directory(diff_id)) == ["f"]
    left = [*Path(lab.path, "ingest").glob("tmp-*"), *Path(lab.path, "layers").glob("tmp-*")]
    assert left == []


def test_what_is_asked_for_while_it_is_collected_stays(
    lab: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = lab.blobs.write(b"x")
    long_ago = time.time() - 3600
    os.utime(lab.blobs.path(blob), (long_ago, long_ago))
    with lab.lease():
        once(monkeypatch, os, "rename", lambda *_words: lab.blobs.has(blob))
        assert lab.collect().blobs == ()
        data, diff_id = images.archive({"f": b"x"})
        Snapshots(lab).unpack_stream(io.BytesIO(data), diff_id)
        once(monkeypatch, os, "rename", lambda *_words: Snapshots(lab).is_unpacked(diff_id))
        os.utime(os.path.dirname(Snapshots(lab).directory(diff_id)), (long_ago, long_ago))
        assert lab.collect().layers == ()
    assert lab.blobs.read(blob) == b"x"
    assert Snapshots(lab).is_unpacked(diff_id)
    assert (lab.collect().blobs, lab.collect().layers) == ((blob,), ())


# --- several processes, and kills ---------------------------------------------------------------

WORK = """
import sys, itertools
sys.path.insert(0, sys.argv[3])
from labcontainer.image.store import Store
from labcontainer.image.snapshots import Snapshots
from tests.unit import images
lab, who = Store(sys.argv[1]), sys.argv[2]
for turn in itertools.count():
    made = images.image(lab, {"base": b"b" * 5000}, {who: str(turn).encode() * 1000},
                        names=(f"{who}:t{turn % 3}",))
    with lab.lease():
        Snapshots(lab).unpack(lab.image(f"{who}:t{turn % 3}"))
    if turn % 2:
        lab.prune()
    print(turn, flush=True)
"""
ROOT = str(Path(__file__).resolve().parents[2])


def whole(lab: Store) -> None:
    """Everything that can be reached is there and right."""
    for image in lab.images():
        for descriptor in (image.descriptor, image.manifest.config, *image.manifest.layers):
            lab.blobs.read(descriptor.digest)
        for diff_id in image.config.diff_ids:
            about = Snapshots(lab).about(diff_id)
            assert about is None or os.path.isdir(Snapshots(lab).directory(diff_id))
    assert len(lab.images()) == len({one.digest for one in lab.entries()})


def test_killed_at_any_moment_it_stays_readable(lab: Store) -> None:
    """Two writers that also collect, killed at random: what is named is whole, always."""
    chance = random.Random(7)
    for _ in range(8):
        workers = [subprocess.Popen([sys.executable, "-c", WORK, lab.path, who, ROOT],
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                   for who in ("one", "two")]  # fmt: skip
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline(), worker.communicate()[1].decode()
        time.sleep(chance.random() / 5)
        for worker in workers:
            worker.send_signal(signal.SIGKILL)
            worker.communicate()
        whole(lab)
    lab.collect()
    whole(lab)
    left = [name for name in os.listdir(f"{lab.path}/layers") if name.startswith("tmp-")]
    assert (left, os.listdir(f"{lab.path}/leases"), os.listdir(f"{lab.path}/ingest")) == (
        [],
        [],
        [],
    )


def test_three_that_pull_and_prune_at_once_never_fail(lab: Store) -> None:
    workers = [subprocess.Popen([sys.executable, "-c", WORK, lab.path, who, ROOT],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
               for who in ("one", "two", "three")]  # fmt: skip
    try:
        for turn in range(60):
            for worker in workers:
                assert worker.stdout is not None
                said = worker.stdout.readline().decode()
                assert said == f"{turn}\n", worker.communicate()[1].decode()
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    whole(lab)


def test_an_image_that_is_named_while_another_prunes_stays(lab: Store) -> None:
    made = images.image(lab, FILES)

    def name_it(_image: object) -> bool:
        lab.tag("app", made.descriptor)
        return True

    removed, _freed = lab.prune(wanted=name_it)
    assert removed == []
    assert lab.image("app").id == made.id


def test_what_a_killed_writer_left_of_the_index_goes(lab: Store) -> None:
    images.image(lab, FILES, names=("app",))
    for name in ("index.json.0a1b.new", "oci-layout.0a1b.new"):
        Path(lab.path, name).write_text('{"schema')
    lab.collect()
    assert list(Path(lab.path).glob("*.new")) == []
    assert lab.image("app").tags == ("app:latest",)


def test_names_written_by_two_at_once_are_all_there(lab: Store) -> None:
    made = images.image(lab, FILES)
    children = []
    for who in range(4):
        pid = os.fork()
        if pid == 0:
            for turn in range(25):
                lab.tag(f"n{who}:{turn}", made.descriptor)
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    assert len(lab.names()) == 100


def test_a_torn_index_is_one_clear_error(lab: Store) -> None:
    images.image(lab, FILES, names=("app",))
    Path(lab.path, "index.json").write_text('{"schemaVersion": 2, "mani')
    with pytest.raises(errors.SpecError, match="no JSON"):
        lab.image("app")


def test_an_image_whose_content_is_gone_does_not_hide_the_others(lab: Store) -> None:
    images.image(lab, FILES, names=("app",))
    lab.tag("lost", Descriptor(documents.OCI_MANIFEST, "sha256:" + "0" * 64, 3))
    assert [one.tags for one in lab.images()] == [("app:latest",)]
    with pytest.raises(errors.NotFoundError, match="does not exist in the image store"):
        lab.image("lost")
    lab.untag("lost")
