"""The engine's images: Docker's shapes and words, and what must stay while a container needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from labcontainer import errors
from labcontainer.engine.events import Events
from labcontainer.engine.images import Images
from labcontainer.image import documents, holds
from labcontainer.image.snapshots import Snapshots
from labcontainer.image.store import Store
from tests.unit import images

FILES = {"etc/": None, "etc/hello": b"hello"}
USED = "container 1234abcd5678 is using its referenced image"


class Lab(Images):
    """Images with a listener, and containers that the test makes up."""

    def __init__(self, path: Path) -> None:
        self.events = Events()
        super().__init__(Store(f"{path}/images"), self.events)
        self.listener = self.events.listen({})
        self.users: dict[str, str] = {}
        self.in_use = lambda identity: self.users.get(identity, "")

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
    image, lowers = lab.root("app")
    assert image.id == made.id
    assert [sorted(p.name for p in Path(one, "etc").iterdir()) for one in lowers] == [
        ["more"], ["hello"]]  # fmt: skip
    lab.users[made.id] = USED
    lab.store.remove(made.id, force=True)  # as a process does that knows nothing of the engine
    assert all(Path(one, "etc").is_dir() for one in lowers)
    assert lab.store.blobs.has(made.manifest.layers[0].digest)
    lab.release()
    lab.store.collect()
    assert all(Path(one, "etc").is_dir() for one in lowers)
    del lab.users[made.id]
    lab.release()
    lab.store.collect()
    assert not any(Path(one).exists() for one in lowers)
    assert list(lab.store.blobs.all()) == []


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
