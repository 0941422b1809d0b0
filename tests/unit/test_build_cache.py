"""The build cache: keys, records, digests of files; whole builds by a runner that runs nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from labcontainer import errors
from labcontainer.build import builder, context
from labcontainer.build.cache import Cache, Cached, key_of
from labcontainer.build.digests import Digests
from labcontainer.build.errors import RunError
from labcontainer.build.options import Options, Secret
from labcontainer.build.progress import Built, Classic, Done, Entered, Event, Plain
from labcontainer.build.runner import Program
from labcontainer.image import diff, holds, packing
from labcontainer.image.packing import Layer
from labcontainer.image.store import Image, Store
from labcontainer.image.tarformat import Entry
from tests.unit import images

OLD = time.time_ns() - 10**10


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "context").mkdir()
    return tmp_path / "context"


class Fake:
    """A runner that writes what the last word of a program says, and counts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.ran: list[Program] = []

    def run(self, program: Program, output: Callable[[bytes], object]) -> tuple[int, Layer | None]:
        self.ran.append(program)
        output(b"out\n")
        if program.args[-1].startswith("exit "):
            return int(program.args[-1].split()[1]), None

        def pack(out: diff.Writable) -> diff.Packed:
            writer = diff.Writer(out)
            writer.bytes_file(Entry("ran"), " ".join(program.args[2:]).encode())
            return writer.finish()

        return 0, packing.store_layer(self._store, pack)

    def stop(self) -> None:
        return


class Home:
    """Builds in one store, with what was told of them."""

    def __init__(self, store: Store, place: Path) -> None:
        self.store, self.place = store, place
        self.runner = Fake(store)
        self.events: list[Event] = []

    def build(self, text: str, **options: Any) -> Image:
        (self.place / "Dockerfile").write_text(text)
        self.events = []
        where = context.of_directory(str(self.place), memory=f"{self.store.path}/digests")
        asked = Options(**options)
        return builder.build(where, asked, self.store, self.runner, self.events.append)

    @property
    def cached(self) -> list[bool]:
        return [one.cached for one in self.events if isinstance(one, Done)]


@pytest.fixture
def home(store: Store, place: Path) -> Home:
    images.image(store, {"base": b"base"}, names=("base",), Env=["PATH=/bin"], Cmd=["sh"])
    return Home(store, place)


# --- records --------------------------------------------------------------------------------------


def test_keys_depend_on_every_part_and_their_order() -> None:
    keys = [key_of(), key_of("a"), key_of("a", "b"), key_of("b", "a"), key_of("ab"), key_of(["a"])]
    assert len(set(keys)) == len(keys)
    assert key_of("a", {"b": 1}) == key_of("a", {"b": 1})


def test_record_comes_back_while_its_layer_is_there(store: Store) -> None:
    descriptor, diff_id = images.layer(store, {"a": b"a"})
    cached = Cached("2026-01-01T00:00:00Z", Layer(descriptor, diff_id))
    cache = Cache(store)
    assert cache.find(key_of("x")) is None
    cache.put(key_of("x"), cached)
    assert cache.find(key_of("x")) == cached
    store.collect()
    assert cache.find(key_of("x")) == cached  # the collector knows the cache
    os.unlink(store.blobs.path(descriptor.digest))
    assert cache.find(key_of("x")) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"created": 1}', '{"layer": {"a": 1}}'])
def test_torn_record_is_none(store: Store, text: str) -> None:
    cache = Cache(store)
    cache.put(key_of("x"), Cached("now"))
    Path(cache.path, key_of("x")).write_text(text)
    assert cache.find(key_of("x")) is None
    store.collect()


def test_threads_may_put_the_same_record(store: Store) -> None:
    cache = Cache(store)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: cache.put(key_of("x"), Cached("now")), range(200)))
    assert cache.find(key_of("x")) == Cached("now")
    assert os.listdir(cache.path) == [key_of("x")]


def test_prune_forgets_what_was_not_used(store: Store) -> None:
    descriptor, diff_id = images.layer(store, {"a": b"a" * 5000})
    cache = Cache(store)
    cache.put(key_of("old"), Cached("now", Layer(descriptor, diff_id)))
    cache.put(key_of("new"), Cached("now"))
    os.utime(f"{cache.path}/{key_of('old')}", (1, 1))
    os.utime(store.blobs.path(descriptor.digest), (1, 1))
    assert cache.prune(3600) == (1, descriptor.size)
    assert [key for key, _ in cache.entries()] == [key_of("new")]


# --- digests of files -----------------------------------------------------------------------------


def test_two_prune_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one has listed, the other has taken away by then."""
    cache = Cache(store)
    for key in ("a" * 64, "b" * 64):
        cache.put(key, Cached("2026-01-01T00:00:00Z", None))
    monkeypatch.setattr(os, "listdir", lambda path: [*_names(path), "c" * 64])  # gone since
    assert {key for key, _ in cache.entries()} == {"a" * 64, "b" * 64}
    entries = cache.entries()
    monkeypatch.setattr(cache, "entries", lambda: entries)
    os.unlink(f"{cache.path}/{'a' * 64}")
    assert cache.prune()[0] == 1


def test_a_hold_that_is_released_while_all_are_listed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.makedirs(holds.folder(store))
    monkeypatch.setattr(os, "listdir", lambda path: [*_names(path), "c" * 64])
    assert holds.held(store) == {}


def _names(path: str) -> list[str]:
    return [entry.name for entry in os.scandir(path)]


def test_untouched_file_is_not_read_again(place: Path, tmp_path: Path) -> None:
    file, memory = place / "f", str(tmp_path / "memory")
    file.write_text("one")
    os.utime(file, ns=(OLD, OLD))
    time.sleep(2.1)  # a file changed just now is never trusted
    digests = Digests(memory)
    first = digests.of(str(file), file.stat())
    digests.save()
    about = file.stat()
    again = Digests(memory)
    file.chmod(0o600)  # touches ctime only
    assert again.of(str(file), about) == first
    file.write_text("two")
    os.utime(file, ns=(OLD, OLD))  # same size, same mtime: the ctime tells
    assert Digests(memory).of(str(file), file.stat()) != first


def test_torn_memory_is_forgotten(place: Path, tmp_path: Path) -> None:
    (tmp_path / "memory").write_text("{")
    (place / "f").write_text("x")
    found = Digests(str(tmp_path / "memory")).of(str(place / "f"), (place / "f").stat())
    assert found == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"


# --- builds ---------------------------------------------------------------------------------------


def test_second_build_runs_nothing_and_is_the_same(home: Home) -> None:
    text = "FROM base\nENV A=1\nCOPY f /f\nRUN make\nCMD x"
    (home.place / "f").write_text("f")
    first = home.build(text)
    assert home.cached == [True, False, False, False, False]
    assert home.build(text).id == first.id
    assert home.cached == [True] * 5
    assert len(home.runner.ran) == 1
    assert first.config.config["Cmd"] == ["/bin/sh", "-c", "x"]
    assert len(first.manifest.layers) == 3


def test_secrets_are_no_part_of_a_key(home: Home, tmp_path: Path) -> None:
    text = "FROM base\nRUN --mount=type=secret,id=s make"
    for word in ("one", "two"):
        (tmp_path / "s").write_text(word)
        home.build(text, secrets={"s": Secret(str(tmp_path / "s"))})
    assert [one.text for program in home.runner.ran for one in program.files] == ["one"]


def test_arguments_count_from_where_they_are_declared(home: Home) -> None:
    text = "FROM base\nRUN one\nARG v\nRUN two"
    home.build(text, arguments={"v": "1"})
    home.build(text, arguments={"v": "2"})
    assert home.cached == [True, True, False, False]
    assert [program.args[-1] for program in home.runner.ran] == ["one", "two", "two"]
    assert "v=2" in home.runner.ran[-1].env


def test_failed_run_is_not_remembered(home: Home) -> None:
    for _turn in range(2):
        with pytest.raises(RunError) as caught:
            home.build("FROM base\nRUN exit 3", names=("never",))
        assert str(caught.value) == "The command '/bin/sh -c exit 3' returned a non-zero code: 3"
    assert len(home.runner.ran) == 2
    with pytest.raises(errors.NotFoundError):
        home.store.image("never")


def test_other_base_is_another_key(home: Home) -> None:
    home.build("FROM base\nRUN x")
    images.image(home.store, {"base": b"other"}, names=("base",))
    home.build("FROM base\nRUN x")
    assert home.cached == [True, False]


def test_classic_stream(home: Home) -> None:
    home.build("FROM base\nRUN x\nENV A=1", names=("named",))
    shown: list[str] = []
    classic = Classic(shown.append)
    for event in home.events:
        classic(event)
    lines = "".join(shown).splitlines()
    ids = [one.id for one in home.events if isinstance(one, Done)]
    ran, set_ = (one.container for one in home.events if isinstance(one, Entered))
    image = next(one.id for one in home.events if isinstance(one, Built))
    assert lines == [
        "Step 1/3 : FROM base", f" ---> {ids[0][:12]}", "Step 2/3 : RUN x",
        f" ---> Running in {ran}", "out", f"Removing intermediate container {ran}",
        f" ---> {ids[1][:12]}", "Step 3/3 : ENV A=1", f" ---> Running in {set_}",
        f"Removing intermediate container {set_}", f" ---> {image[7:19]}",
        f"Successfully built {image[7:19]}", "Successfully tagged named:latest",
    ]  # fmt: skip


def test_plain_lines_keep_steps_apart(home: Home) -> None:
    home.build("FROM base AS a\nRUN x\nFROM base\nCOPY --from=a /ran /")
    shown: list[str] = []
    plain = Plain(shown.append)
    for event in home.events:
        plain(event)
    lines = "".join(shown).splitlines()
    second = [line for line in lines if line.startswith("#2 ")]
    assert second[0] == "#2 [a 2/2] RUN x"
    assert second[1].split()[2] == "out"
    assert second[2].startswith("#2 DONE ")
    assert "#4 [stage-1 2/2] COPY --from=a /ran /" in lines
