"""The engine's volumes, and mount points in Docker's words; no container runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labcontainer import errors
from labcontainer.engine import mountpoints, request
from labcontainer.engine.events import Events
from labcontainer.engine.records import Records
from labcontainer.engine.view import Layer
from labcontainer.engine.volumes import ANONYMOUS, Volumes

Document = dict[str, Any]
NOTHING: Document = {
    "VolumeDriver": "",
    "Binds": None,
    "Mounts": None,
    "VolumesFrom": None,
    "Tmpfs": None,
}


class Having:
    """As much of a container as has mount points."""

    def __init__(self, name: str, mounts: list[Document]) -> None:
        self.name = self.id = name
        self.mounts = mounts


class Few:
    """Some containers, as `Containers` finds them."""

    def __init__(self) -> None:
        self.found: list[Having] = []

    def all(self) -> list[Having]:
        return self.found

    def find(self, word: str) -> Having:
        for one in self.found:
            if one.name == word:
                return one
        raise errors.NotFoundError(f"No such container: {word}")


class Lab(Volumes):
    """Volumes with a listener, and containers that the test makes up."""

    def __init__(self, path: Path) -> None:
        self.few = Few()
        self.listener = Events().listen({})
        super().__init__(Records(f"{path}/state.db"), self.listener._events, f"{path}/volumes")
        self.containers = self.few  # type: ignore[assignment]

    def made(self, name: str, *, volumes: tuple[str, ...] = (), **host: Any) -> Having:
        """A container with what Config.Volumes and HostConfig ask for."""
        config: Document = {"Volumes": {place: {} for place in volumes}}
        mounts = self.resolve(name, config, NOTHING | host, self.containers)
        self.few.found.append(Having(name, mounts))
        self.known(name)
        return self.few.found[-1]

    def names(self, **given: list[str]) -> list[str]:
        return [one["Name"] for one in self.select(given)["Volumes"]]

    def asked(self, one: Having) -> tuple[tuple[request.Volume, ...], tuple[request.Tmpfs, ...]]:
        return self.requests(one)  # type: ignore[arg-type]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.listener.close()
    made._records.close()


# --- volumes --------------------------------------------------------------------------------------


def test_a_volume_is_remembered(lab: Lab, tmp_path: Path) -> None:
    made = lab.create({"Name": "own", "Labels": {"a": "b"}})
    assert lab.create({"Name": "own"}) == made
    assert Path(made["Mountpoint"]).is_dir()
    again = Volumes(Records(f"{tmp_path}/state.db"), Events(), f"{tmp_path}/volumes")
    assert again.inspect("own") == made
    lab.remove("own")
    assert not Path(made["Mountpoint"]).parent.exists()
    with pytest.raises(errors.NotFoundError, match="get own: no such volume"):
        lab.remove("own")
    lab.remove("own", force=True)
    assert [one["Action"] for one in lab.listener.take()] == ["create", "destroy"]


@pytest.mark.parametrize("name", ["a", "../up", "a/b", "a b", ".hidden", "ä1"])
def test_names_that_would_be_no_directory_of_their_own(lab: Lab, name: str) -> None:
    with pytest.raises(errors.UsageError, match=r"too short|invalid characters"):
        lab.create({"Name": name})


def test_filters_and_users(lab: Lab) -> None:
    lab.create({"Name": "free", "Labels": {"a": "b"}})
    lab.made("one", Binds=["used:/data"])
    assert lab.names() == ["free", "used"]
    assert lab.names(dangling=["true"]) == ["free"]
    assert lab.names(dangling=["0"]) == ["used"]
    assert lab.names(label=["a=b"], name=["re"]) == ["free"]
    assert lab.names(driver=["other"]) == []
    with pytest.raises(errors.StateError, match=r"remove used: volume is in use - \[one\]"):
        lab.remove("used")
    with pytest.raises(errors.UsageError, match="invalid filter 'x'"):
        lab.names(x=["1"])


def test_prune_takes_those_without_a_name_unless_asked_for_all(lab: Lab) -> None:
    lab.create({"Name": "named"})
    nameless = lab.create({})
    assert nameless["Labels"] == {ANONYMOUS: ""}
    Path(nameless["Mountpoint"], "f").write_bytes(b"x" * 5000)
    done = lab.prune({})
    assert done["VolumesDeleted"] == [nameless["Name"]]
    assert done["SpaceReclaimed"] >= 5000
    assert lab.prune({"all": ["true"]})["VolumesDeleted"] == ["named"]
    lab.create({"Name": "old"})
    assert lab.prune({}, only_anonymous=False)["VolumesDeleted"] == ["old"]


def test_volumes_without_a_name_go_with_their_container(lab: Lab) -> None:
    one = lab.made("one", volumes=("/a",), Binds=["kept:/b"])
    two = lab.made("two", VolumesFrom=["one"])
    lab.release(two, True)  # type: ignore[arg-type]
    lab.few.found.remove(two)
    assert len(lab.names()) == 2  # they are the other's
    lab.few.found.remove(one)
    lab.release(one, True)  # type: ignore[arg-type]
    assert lab.names() == ["kept"]


def test_sizes(lab: Lab) -> None:
    Path(lab.create({"Name": "own"})["Mountpoint"], "f").write_bytes(b"x" * 5000)
    lab.made("one", Binds=["own:/data"])
    (found,) = lab.usage()
    assert found["UsageData"]["RefCount"] == 1
    assert found["UsageData"]["Size"] >= 5000


# --- mount points ---------------------------------------------------------------------------------


def test_words_of_binds(tmp_path: Path) -> None:
    bind = mountpoints.bind("/host//dir/:/in/:ro,rslave")
    assert (bind["Type"], bind["Source"], bind["Destination"]) == ("bind", "/host/dir", "/in")
    assert (bind["RW"], bind["Propagation"], bind["Mode"]) == (False, "rslave", "ro,rslave")
    volume = mountpoints.bind("name:/in:nocopy")
    assert (volume["Type"], volume["Name"], volume["_nocopy"]) == ("volume", "name", True)
    assert mountpoints.bind("/in")["Name"] == ""
    assert mountpoints.bind("name://in")["Destination"] == "/in"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("a1:b", "'b' mount path must be absolute"),
        ("a1:/", "destination can't be '/'"),
        ("a1:/..", "destination can't be '/'"),
        ("a1:/b:x", "invalid mode: x"),
        ("a1:/b:rshared", "invalid mode: rshared"),  # propagation is of binds
        ("/a:/b:nocopy", "invalid mode: nocopy"),
        ("a1:/b:ro:x", "invalid volume specification: 'a1:/b:ro:x'"),
        (":/b", "invalid volume specification"),
    ],
)
def test_words_of_binds_that_are_none(word: str, said: str) -> None:
    with pytest.raises(errors.UsageError, match=said):
        mountpoints.bind(word)


def test_who_wins_a_place(lab: Lab) -> None:
    lab.made("base", volumes=("/data", "/more"), Tmpfs={"/tmp": ""})
    one = lab.made("one", volumes=("/data",), Binds=["mine:/data"], VolumesFrom=["base:ro"])
    shown = {mount["Destination"]: (mount["Name"], mount["RW"]) for mount in one.mounts}
    assert shown["/data"] == ("mine", True)
    assert shown["/more"][1] is False  # another's, and only to be read; its tmpfs is its own
    assert list(shown) == ["/data", "/more"]
    for twice in ({"Binds": ["a1:/x", "b1:/x/"]}, {"Binds": ["a1:/x"], "Tmpfs": {"/x": ""}}):
        with pytest.raises(errors.UsageError, match="Duplicate mount point: /x"):
            lab.made("two", **twice)


def test_deep_places_come_after_those_above(lab: Lab) -> None:
    one = lab.made("one", Binds=["a1:/x/y/z", "b1:/x", "c1:/x/y"])
    assert [mount["Destination"] for mount in one.mounts] == ["/x", "/x/y", "/x/y/z"]


# --- what is mounted ------------------------------------------------------------------------------


def test_a_missing_source_of_a_bind_is_made_but_not_that_of_a_mount(
    lab: Lab, tmp_path: Path
) -> None:
    new, gone = f"{tmp_path}/new/er", tmp_path / "gone"
    ((volume,), _) = lab.asked(lab.made("one", Binds=[f"{new}:/x:ro"]))
    assert volume == request.Volume(new, "/x", readonly=True)
    assert Path(new).is_dir()
    wanted = {"Type": "bind", "Source": str(gone), "Target": "/x"}
    with pytest.raises(errors.UsageError, match=f"bind source path does not exist: {gone}"):
        lab.made("two", Mounts=[wanted])
    gone.mkdir()
    two = lab.made("two", Mounts=[wanted])
    gone.rmdir()
    with pytest.raises(errors.UsageError, match="bind source path does not exist"):
        lab.asked(two)


def test_options_of_the_local_driver(lab: Lab, tmp_path: Path) -> None:
    for name, kind, device, words in (("mem", "tmpfs", "tmpfs", "size=1m,uid=5"),
                                      ("dir", "none", str(tmp_path), "bind,ro")):  # fmt: skip
        lab.create({"Name": name, "DriverOpts": {"type": kind, "device": device, "o": words}})
    volumes, memories = lab.asked(lab.made("one", Binds=["mem:/m", "dir:/d:ro"]))
    places = [lab.inspect(name)["Mountpoint"] for name in ("dir", "mem")]
    assert {one.source for one in volumes} == set(places)
    assert [one.readonly for one in volumes if one.source == places[0]] == [True]
    assert memories == ()
    for options, why in (
        ({"type": "nfs"}, 'missing required option: "device"'),
        ({"o": "ro"}, 'missing required option: "device"'),
        ({"device": ":/x"}, 'missing required option: "type"'),
        ({"size": "1m"}, "quota size requested but no quota support"),
        ({"size": "zz"}, "invalid size: 'zz'"),
        ({"nosuch": "1"}, 'invalid option: "nosuch"'),
    ):
        with pytest.raises(errors.UsageError, match=f"create net: {why}"):
            lab.create({"Name": "net", "DriverOpts": options})


def test_memory(lab: Lab) -> None:
    mount = {"Type": "tmpfs", "Target": "/b", "TmpfsOptions": {"SizeBytes": 4096, "Mode": 0o700}}
    one = lab.made("one", Tmpfs={"/a": "size=1m"}, Mounts=[mount])
    for found in one.mounts:
        found["_new"] = True  # the image has no such directory
    _, memories = lab.asked(one)
    always = request.Tmpfs.options
    assert memories == (
        request.Tmpfs("/a", (*always, "size=1m", "mode=1777")),
        request.Tmpfs("/b", (*always, "size=4096", "mode=700")),
    )


def test_a_part_of_a_volume_can_not_lead_out_of_it(lab: Lab, tmp_path: Path) -> None:
    made = Path(lab.create({"Name": "own"})["Mountpoint"])
    (made / "part").mkdir()
    (made / "out").symlink_to("/etc")
    mount = {"Type": "volume", "Source": "own", "Target": "/x"}
    options = {"VolumeOptions": {"Subpath": "part"}}
    ((volume,), _) = lab.asked(lab.made("one", Mounts=[mount | options]))
    assert volume.source == str(made / "part")
    for path in ("out", "gone"):
        options = {"VolumeOptions": {"Subpath": path}}
        one = lab.made(path, Mounts=[mount | options])
        with pytest.raises(errors.UsageError, match="cannot access path"):
            lab.asked(one)
    options = {"VolumeOptions": {"Subpath": "../../.."}}
    ((volume,), _) = lab.asked(lab.made("up", Mounts=[mount | options]))
    assert volume.source == str(made)


def test_a_volume_gets_what_the_image_has_there(lab: Lab, tmp_path: Path) -> None:
    """Once, as long as it is empty; with the modes and links, and never by a link out."""
    root = tmp_path / "root"
    (root / "data/sub").mkdir(parents=True)
    (root / "data/sub/f").write_text("x")
    (root / "data").chmod(0o711)
    (root / "data/link").symlink_to("sub")
    (root / "way").symlink_to("/data")
    one = lab.made("one", Binds=["own:/way", "raw:/data:nocopy", "none:/nosuch"])
    lab.fill_empty(one.mounts, lambda: Layer(str(root)))
    made = Path(lab.inspect("own")["Mountpoint"])
    assert (made / "sub/f").read_text() == "x"
    assert os.readlink(made / "link") == "sub"
    assert made.stat().st_mode & 0o777 == 0o711
    assert os.listdir(lab.inspect("raw")["Mountpoint"]) == []
    (made / "link").unlink()
    lab.fill_empty(one.mounts, lambda: Layer(str(root)))
    assert os.listdir(made) == ["sub"]  # not a second time


def test_the_volumes_of_a_container_that_is_being_made_stay(lab: Lab) -> None:
    """`volume prune` beside `docker create`, between the volume and the container."""
    mounts = lab.resolve("coming", {"Volumes": {"/a": {}}}, NOTHING, lab.containers)
    (name,) = [str(one["Name"]) for one in mounts]
    assert lab.prune({})["VolumesDeleted"] == []
    with pytest.raises(errors.StateError, match="in use - "):
        lab.remove(name)
    lab.known("coming")  # it could not be made
    assert lab.prune({})["VolumesDeleted"] == [name]


def test_a_create_that_is_refused_leaves_no_volume_without_a_name(lab: Lab) -> None:
    other = {"Type": "volume", "Target": "/b", "VolumeOptions": {"DriverConfig": {"Name": "odd"}}}
    with pytest.raises(errors.UsageError, match="odd"):
        lab.made("one", volumes=("/a",), Mounts=[other])
    assert lab.names() == []
