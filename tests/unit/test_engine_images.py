"""The engine's images: Docker's shapes and words, and what must stay while a container needs it."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from labcontainer import errors
from labcontainer.engine.events import Events
from labcontainer.engine.images import Images
from labcontainer.image import documents, holds
from labcontainer.image.snapshots import Snapshots
from labcontainer.image.store import Image, Store
from tests.unit import images

FILES = {"etc/": None, "etc/hello": b"hello"}
USED = "image is being used by stopped container 1234abcd5678"


class Lab(Images):
    """Images with a listener, and containers that the test makes up."""

    def __init__(self, path: Path) -> None:
        self.events = Events()
        super().__init__(Store(f"{path}/images"), self.events)
        self.listener = self.events.listen({})
        self.users: dict[str, str] = {}
        self.in_use = lambda identity: self.users.get(identity, "")

    def root_of(self, name: str) -> tuple[Image, tuple[str, ...]]:
        """The root of a container that is remembered, or forgotten, when this returns."""
        with self.store.lease():
            return self.root(name)

    def heard(self) -> list[tuple[str, str, dict[str, Any]]]:
        """(action, id, attributes) of the events since the last time."""
        return [(one["Action"], one["Actor"]["ID"], one["Actor"]["Attributes"])
                for one in self.listener.take()]  # fmt: skip


@pytest.fixture
def lab(tmp_path: Path) -> Any:
    made = Lab(tmp_path)
    yield made
    made.listener.close()


def test_the_root_of_a_container_is_unpacked_and_kept(lab: Lab) -> None:
    made = images.image(lab.store, FILES, {"etc/more": b"more"}, names=("app",))
    image, lowers = lab.root_of("app")
    assert image.id == made.id
    assert [sorted(p.name for p in Path(one, "etc").iterdir()) for one in lowers] == [
        ["more"], ["hello"]]  # fmt: skip
    lab.users[made.id] = USED
    lab.store.remove(made.id, force=True)  # as a process does that knows nothing of the engine
    assert all(Path(one, "etc").is_dir() for one in lowers)
    assert lab.store.blobs.has(made.manifest.layers[0].digest)
    assert lab.of_container(made.id).config == made.config
    lab.release()
    lab.store.collect()
    assert all(Path(one, "etc").is_dir() for one in lowers)
    del lab.users[made.id]
    lab.release()
    lab.store.collect()
    assert not any(Path(one).exists() for one in lowers)
    assert list(lab.store.blobs.all()) == []
    with pytest.raises(errors.NotFoundError, match="No such image"):
        lab.of_container(made.id)


def test_a_container_that_is_being_made_keeps_its_image_by_the_lease(lab: Lab) -> None:
    made = images.image(lab.store, FILES, names=("app",))
    with lab.store.lease():
        _, lowers = lab.root("app")
        lab.release()
        assert made.id in holds.held(lab.store)
        lab.store.remove("app", force=True)
        assert Path(lowers[0]).is_dir()
    lab.release()
    assert holds.held(lab.store) == {}


def test_an_image_of_another_platform_is_not_found(lab: Lab) -> None:
    images.image(lab.store, FILES, names=("app",))
    with pytest.raises(errors.NotFoundError, match="No such image: nothing:latest"):
        lab.root("nothing")
    with pytest.raises(errors.NotFoundError, match="does not match the specified platform"):
        lab.root("app", documents.parse_platform("linux/s390x"))
    assert lab.root("app", documents.host_platform())[0].tags == ("app:latest",)


def test_inspect_has_dockers_fields(lab: Lab) -> None:
    made = images.image(lab.store, FILES, names=("app:1",), Cmd=["sh"], Labels={"a": "b"})
    found = lab.inspect("app:1")
    assert (found["Id"], found["RepoTags"]) == (made.id, ["app:1"])
    assert found["Config"]["Cmd"] == ["sh"]
    assert found["Config"]["Hostname"] == ""
    assert "Healthcheck" not in found["Config"]
    assert found["RootFS"] == {"Type": "layers", "Layers": list(made.config.diff_ids)}
    upper = Snapshots(lab.store).directory(made.config.diff_ids[0])
    assert found["GraphDriver"] == {"Name": "overlay2", "Data": {"UpperDir": upper}}
    assert "VirtualSize" not in found
    assert lab.inspect(made.id, (1, 43))["VirtualSize"] == found["Size"]


def test_one_image_under_two_manifests_has_all_names(lab: Lab) -> None:
    made = images.image(lab.store, FILES, names=("app:oci",))
    layers = made.manifest.layers
    lab.store.add_manifest(made.manifest.config, layers, ("app:docker",), docker=True)
    assert sorted(lab.inspect(made.id)["RepoTags"]) == ["app:docker", "app:oci"]


def test_history_is_the_newest_first(lab: Lab) -> None:
    made = images.image(lab.store, FILES, {"etc/more": b"more!"}, names=("app",))
    found = lab.history("app")
    assert [(one["CreatedBy"], one["Id"], one["Tags"]) for one in found] == [
        ("step 1", made.id, ["app:latest"]), ("step 0", "<missing>", None)]  # fmt: skip


def test_a_tag_is_told(lab: Lab) -> None:
    made = images.image(lab.store, FILES, names=("app",), Labels={"a": "b"})
    lab.tag("app", "localhost:5000/team/app", "2")
    assert lab.heard() == [("tag", made.id, {"a": "b", "name": "localhost:5000/team/app:2"})]
    with pytest.raises(errors.UsageError, match="digest reference"):
        lab.tag("app", f"app@sha256:{'0' * 64}")
    with pytest.raises(errors.UsageError, match="invalid reference format"):
        lab.tag("app", "UPPER")
    with pytest.raises(errors.NotFoundError):
        lab.tag("nothing", "app")


# --- lists ----------------------------------------------------------------------------------------


def listed(lab: Lab, **wanted: str) -> list[str]:
    """The names (or "<none>") of the images that pass filters, sorted."""
    filters = {name.replace("_", "!"): [value] for name, value in wanted.items()}
    return sorted(one["RepoTags"][0] if one["RepoTags"] else "<none>"
                  for one in lab.listed(filters))  # fmt: skip


@pytest.fixture
def several(lab: Lab) -> Lab:
    images.image(lab.store, FILES, names=("app:1",), Labels={"kind": "app"})
    images.image(lab.store, {"etc/a": b"a"}, names=("localhost:5000/team/db:2",))
    images.image(lab.store, {"etc/b": b"b"}, names=("moved",))
    images.image(lab.store, {"etc/c": b"c"}, names=("moved",))
    return lab


def test_lists_by_dockers_filters(several: Lab) -> None:
    tags = ["app:1", "localhost:5000/team/db:2", "moved:latest"]
    assert listed(several) == ["<none>", *tags]
    assert listed(several, dangling="true") == ["<none>"]
    assert listed(several, dangling="0") == tags
    assert listed(several, label="kind") == listed(several, label="kind=app") == ["app:1"]
    assert listed(several, label="kind=db") == []
    assert listed(several, label_="kind") == ["<none>", *tags[1:]]
    assert listed(several, reference="app") == listed(several, reference="a*:1") == ["app:1"]
    assert listed(several, reference="*/team/*") == ["localhost:5000/team/db:2"]
    assert listed(several, reference="*") == ["app:1", "moved:latest"]
    assert listed(several, until="2025-01-01") == []
    assert len(listed(several, until="24h")) == 4
    assert listed(several, before="app:1") == listed(several, since="app:1") == []


@pytest.mark.parametrize("wanted", [{"bad": ["x"]}, {"dangling": ["perhaps"]}, {"until": ["x"]}])
def test_a_filter_that_is_none_is_refused(several: Lab, wanted: dict[str, list[str]]) -> None:
    with pytest.raises(errors.UsageError):
        several.listed(wanted)
    with pytest.raises(errors.UsageError):
        several.prune(wanted)


def test_before_and_since_must_name_an_image(several: Lab) -> None:
    with pytest.raises(errors.NotFoundError, match="No such image: nothing:latest"):
        several.listed({"before": ["nothing"]})


def test_old_clients_see_a_name_of_none(several: Lab) -> None:
    (line,) = several.listed({"dangling": ["true"]}, (1, 42))
    assert (line["RepoTags"], line["RepoDigests"]) == (["<none>:<none>"], ["<none>@<none>"])
    assert line["VirtualSize"] == line["Size"]
    (line,) = several.listed({"dangling": ["true"]}, (1, 44))
    assert (line["RepoTags"], line["RepoDigests"], "VirtualSize" in line) == ([], [], False)


def test_what_images_share_is_counted_when_asked_for(lab: Lab) -> None:
    images.image(lab.store, FILES, {"a": b"12345"}, names=("one",))
    images.image(lab.store, FILES, {"a": b"1234567"}, names=("two",))
    images.image(lab.store, {"a": b"123456789"}, names=("three",))
    assert {one["SharedSize"] for one in lab.listed({})} == {-1}
    both = {one["RepoTags"][0]: one["SharedSize"] for one in lab.listed({}, shared=True)}
    assert both["one:latest"] == both["two:latest"] > 0
    assert both["three:latest"] == 0


# --- what goes ------------------------------------------------------------------------------------


def test_an_image_goes_with_its_last_name(lab: Lab) -> None:
    made = images.image(lab.store, FILES, names=("app:1", "app:2"), Labels={"a": "b"})
    lab.root_of("app:1")
    assert lab.remove("app:1") == [{"Untagged": "app:1"}]
    gone = lab.remove("app:2")
    assert gone == [{"Untagged": "app:2"}, {"Deleted": made.id},
                    {"Deleted": made.config.diff_ids[0]}]  # fmt: skip
    about = {"a": "b", "name": made.id}
    assert lab.heard() == [(action, made.id, about) for action in ("untag", "untag", "delete")]
    with pytest.raises(errors.NotFoundError, match="No such image: app:2"):
        lab.remove("app:2")
    assert list(lab.store.blobs.all()) == []


def test_an_image_of_several_repositories_goes_by_its_id_only_by_force(lab: Lab) -> None:
    made = images.image(lab.store, FILES, names=("app", "other"))
    lab.store.add_manifest(made.manifest.config, made.manifest.layers, ("app:docker",), docker=True)
    with pytest.raises(errors.StateError) as raised:
        lab.remove(made.id)
    assert str(raised.value) == (
        f"conflict: unable to delete {made.id[7:19]} (must be forced) - "
        "image is referenced in multiple repositories"
    )
    gone = lab.remove(made.id[:20], force=True)
    names = [one["Untagged"] for one in gone if "Untagged" in one]
    assert names == ["app:latest", "other:latest", "app:docker"]
    assert gone.count({"Deleted": made.id}) == 1
    assert lab.store.entries() == ()


def test_what_a_container_uses_is_only_untagged(lab: Lab) -> None:
    made = images.image(lab.store, FILES, names=("app",))
    _, lowers = lab.root_of("app")
    lab.users[made.id] = USED
    with pytest.raises(errors.StateError) as raised:
        lab.remove("app")
    assert str(raised.value) == (
        f'conflict: unable to remove repository reference "app" (must force) - '
        f"container 1234abcd5678 is using its referenced image {made.id[7:19]}"
    )
    with pytest.raises(errors.StateError, match=r"must be forced\) - image is being used by stop"):
        lab.remove(made.id)
    lab.users[made.id] = USED.replace("stopped", "running")
    with pytest.raises(
        errors.StateError, match=r"cannot be forced\) - image is being used by runn"
    ):
        lab.remove(made.id, force=True)
    lab.users[made.id] = USED
    assert lab.heard() == []
    assert lab.remove("app", force=True) == [{"Untagged": "app:latest"}]
    assert lab.inspect(made.id)["RepoTags"] == []
    with pytest.raises(errors.StateError, match="cannot be forced"):
        lab.remove(made.id, force=True)
    assert lab.prune({"dangling": ["false"]}) == {"ImagesDeleted": None, "SpaceReclaimed": 0}
    assert Path(lowers[0]).is_dir()
    del lab.users[made.id]
    assert {"Deleted": made.id} in lab.remove(made.id)
    assert not Path(lowers[0]).exists()


def test_a_digest_goes_with_the_last_tag_of_its_repository(lab: Lab) -> None:
    made = images.image(lab.store, FILES, names=("app", "other"))
    lab.store.tag(f"app@{made.descriptor.digest}", made.descriptor)
    lab.users[made.id] = USED
    assert lab.remove("app") == [
        {"Untagged": "app:latest"}, {"Untagged": f"app@{made.descriptor.digest}"}]  # fmt: skip


def test_prune_takes_what_has_no_name(several: Lab) -> None:
    several.heard()
    found = several.prune({})
    assert [key for one in found["ImagesDeleted"] for key in one][:1] == ["Deleted"]
    assert found["SpaceReclaimed"] > 0
    assert [one[0] for one in several.heard()] == ["delete", "prune"]
    assert several.prune({"label!": ["kind"], "dangling": ["false"]})["ImagesDeleted"]
    assert listed(several) == ["app:1"]
    assert several.heard()[-1][2]["reclaimed"].isdigit()


def test_an_image_that_goes_before_its_layers_are_unpacked_is_not_found(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = images.image(lab.store, FILES, names=("app",))
    for one in (made.descriptor, made.manifest.config, *made.manifest.layers):
        os.utime(lab.store.blobs.path(one.digest), (1, 1))  # older than the lease
    unpack_blob = Snapshots.unpack_blob

    def late(snapshots: Snapshots, digest: str, diff_id: str) -> None:
        lab.remove("app", force=True)
        unpack_blob(snapshots, digest, diff_id)

    monkeypatch.setattr(Snapshots, "unpack_blob", late)
    with pytest.raises(errors.NotFoundError, match="has been removed"):
        lab.root_of("app")


def test_containers_come_and_go_while_others_remove_their_image(lab: Lab) -> None:
    """Whoever got a root has its files until the container is gone, however often it is removed."""
    made = images.image(lab.store, FILES, names=("app",))
    ended = threading.Event()

    def remove_again_and_again() -> None:
        while not ended.wait(0.001):
            with suppress(errors.NotFoundError):
                lab.remove("app", force=True)
                lab.prune({"dangling": ["false"]})

    other = threading.Thread(target=remove_again_and_again)
    other.start()
    try:
        roots = 0
        while roots < 30:
            try:
                with lab.store.lease():
                    image, lowers = lab.root("app")
                    lab.users[image.id] = USED
            except errors.NotFoundError:
                images.image(lab.store, FILES, names=("app",))
                continue
            assert image.id == made.id
            assert Path(lowers[0], "etc/hello").read_bytes() == b"hello"
            assert lab.of_container(image.id).manifest.layers == made.manifest.layers
            del lab.users[image.id]
            roots += 1
    finally:
        ended.set()
        other.join()
