"""Packed streams: several members, torn ones, other tools', with and without fast libraries."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcontainer import errors
from labcontainer.image import compression
from tests.unit.archives import one_line, slow_disk

CONTENT = b"".join(b"line %d\n" % number for number in range(20_000))


@pytest.fixture(params=["isal", "standard library"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With isal, and as on a machine that has none."""
    if request.param != "isal":
        monkeypatch.setitem(sys.modules, "isal", None)
    return str(request.param)


def read(data: bytes) -> bytes:
    reader = compression.Reader(io.BytesIO(data))
    return b"".join(iter(lambda: reader.read(1000), b""))


def packed(data: bytes, kind: str, level: int | None = None) -> bytes:
    out = io.BytesIO()
    with compression.Writer(out, kind, level) as writer:
        for place in range(0, len(data), 7000):
            writer.write(data[place : place + 7000])
    return out.getvalue()


@pytest.mark.parametrize("kind", compression.KINDS)
def test_there_and_back(library: str, kind: str) -> None:
    data = packed(CONTENT, kind)
    assert read(data) == CONTENT
    assert compression.Reader(io.BytesIO(data)).kind == kind
    assert packed(CONTENT, kind) == data
    assert read(packed(b"", kind)) == b""


@pytest.mark.parametrize("level", [0, 1, 3, 9])
def test_levels(library: str, level: int) -> None:
    assert read(packed(CONTENT, "gzip", level)) == CONTENT


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_members_one_after_another_are_one_stream(library: str, kind: str) -> None:
    """As pigz, estargz and zstd:chunked write them."""
    assert read(packed(b"one", kind) + packed(b"", kind) + packed(b"two", kind)) == b"onetwo"


def test_a_frame_that_zstd_skips(library: str) -> None:
    skipped = b"\x50\x2a\x4d\x18\x05\x00\x00\x00hello"
    assert read(packed(b"one", "zstd") + skipped + packed(b"two", "zstd")) == b"onetwo"
    assert read(packed(b"one", "zstd") + skipped) == b"one"


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
@pytest.mark.parametrize("cut", [-1, -9, 30, 11])
def test_a_torn_stream_says_so(library: str, kind: str, cut: int) -> None:
    with pytest.raises(errors.LabError, match=f"the {kind} stream is torn"):
        read(packed(CONTENT, kind)[:cut])


def test_a_wrong_check_sum_says_so(library: str) -> None:
    data = bytearray(packed(CONTENT, "gzip"))
    data[-6] ^= 1
    with pytest.raises(errors.LabError, match="torn"):
        read(bytes(data))


def test_zeros_behind_a_gzip_stream_are_filling(library: str) -> None:
    assert read(packed(CONTENT, "gzip") + bytes(1000)) == CONTENT


@slow_disk
@given(st.sampled_from(["gzip", "zstd"]), st.data())
def test_any_change_of_a_byte_is_the_content_or_one_error(kind: str, data: st.DataObject) -> None:
    bad = bytearray(packed(CONTENT[:3000], kind))
    place = data.draw(st.integers(6, len(bad) - 1))
    bad[place] ^= data.draw(st.integers(1, 255))
    one_line(lambda: read(bytes(bad)))


@pytest.mark.parametrize(
    ("first", "name"),
    [(b"BZh91AY", "bzip2"), (b"\xfd7zXZ\x00\x00", "xz"), (b"\x04\x22\x4d\x18", "lz4")],
)
def test_others_are_refused_by_name(first: bytes, name: str) -> None:
    with pytest.raises(errors.LabError, match=name):
        compression.Reader(io.BytesIO(first))


def test_what_is_packed_tells_no_time_and_no_name(library: str) -> None:
    header = packed(b"x", "gzip")[:10]
    assert (header[3], header[4:8]) == (0, bytes(4))
    assert zlib.decompress(packed(CONTENT, "gzip"), 31) == CONTENT
    assert gzip.decompress(packed(CONTENT, "gzip")) == CONTENT


@pytest.mark.requires("zstd")
@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_the_usual_programs_agree(library: str, kind: str) -> None:
    done = subprocess.run([kind, "-dc"], input=packed(CONTENT, kind), capture_output=True,
                          check=True)  # fmt: skip
    assert done.stdout == CONTENT
    made = subprocess.run([kind, "-c"], input=CONTENT, capture_output=True, check=True).stdout
    assert read(made) == CONTENT


def test_a_bomb(library: str) -> None:
    data = packed(bytes(4 << 20), "gzip")
    reader = compression.Reader(io.BytesIO(data), ratio=100, small=1 << 20)
    with pytest.raises(errors.LabError, match="taken for a bomb"):
        list(iter(lambda: reader.read(1 << 16), b""))
    assert len(read(data)) == 4 << 20  # too small for harm
