"""Manifests, indexes and configurations: what is read, refused and written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcontainer import errors
from labcontainer.image import documents
from labcontainer.image.documents import Descriptor, Index, Manifest, Platform

DIGEST = "sha256:" + "0" * 64
LAYER = Descriptor(documents.OCI_LAYER_GZIP, DIGEST, 10)
MANIFEST = Manifest(documents.OCI_MANIFEST, Descriptor(documents.OCI_CONFIG, DIGEST, 2), (LAYER,))


def test_a_manifest_comes_back() -> None:
    assert documents.parse_manifest(MANIFEST.encode()) == MANIFEST


def test_an_index_comes_back_and_knows_its_platforms() -> None:
    arm = LAYER.replace(platform=Platform("linux", "arm64", "v8"))
    amd = LAYER.replace(platform=Platform("linux", "amd64"))
    index = Index(documents.OCI_INDEX, (arm, amd))
    found = documents.parse_manifest(index.encode())
    assert found == index
    assert isinstance(found, Index)
    assert found.choose(Platform("linux", "amd64")) == amd
    assert found.choose(Platform("linux", "arm64")) == arm
    with pytest.raises(errors.NotFoundError, match="linux/amd64, linux/arm64/v8"):
        found.choose(Platform("linux", "s390x"))


def test_the_chain_of_a_configuration() -> None:
    one, two = documents.digest_of(b"1"), documents.digest_of(b"2")
    config = documents.ImageConfig(Platform("linux", "amd64"), (one, two))
    assert config.chain_ids == (one, documents.digest_of(f"{one} {two}".encode()))
    assert documents.parse_config(config.encode()) == config


def test_unknown_fields_of_a_configuration_are_kept() -> None:
    text = {"architecture": "amd64", "os": "linux", "docker_version": "20.10",
            "rootfs": {"type": "layers", "diff_ids": []}, "config": {"Env": ["A=1"]}}  # fmt: skip
    again = json.loads(documents.parse_config(json.dumps(text).encode()).encode())
    assert again["docker_version"] == "20.10"
    assert again["config"] == {"Env": ["A=1"]}


def broken(**changes: Any) -> bytes:
    fields = json.loads(MANIFEST.encode())
    return json.dumps({**fields, **changes}).encode()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no JSON"),
        (b"[]", "no JSON object"),
        (b"[" * 100000, "no JSON"),
        (b" " * (documents.LARGEST + 1), "more than"),
        (broken(schemaVersion=1), "is not 2"),
        (broken(layers={}), "no list"),
        (broken(layers=[{}]), r"manifest.layers\[0\]"),
        (broken(layers=[{**LAYER.to_json(), "size": -1}]), "no number of bytes"),
        (broken(layers=[{**LAYER.to_json(), "size": True}]), "no number of bytes"),
        (broken(layers=[{**LAYER.to_json(), "digest": "sha256:../../x"}]), "no sha256"),
        (broken(layers=[LAYER.to_json()] * 501), "more than 500"),
        (broken(mediaType="text/html"), "no image manifest"),
        (broken(manifests=[]), "no image manifest"),
        (broken(annotations={"a": 1}), "not all texts"),
    ],
)
def test_a_broken_manifest(data: bytes, said: str) -> None:
    with pytest.raises(errors.SpecError, match=said) as caught:
        documents.parse_manifest(data)
    assert len(str(caught.value)) < 300


def test_two_media_types_that_differ() -> None:
    with pytest.raises(errors.SpecError, match="but it came as"):
        documents.parse_manifest(MANIFEST.encode(), documents.DOCKER_MANIFEST)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["mediaType", "digest", "size", "layers", "config", "manifests", "os",
                         "schemaVersion", "rootfs", "diff_ids", "history", "platform", "Env"]),
        inner, max_size=6),
    max_leaves=12,
)  # fmt: skip


@given(JSON)
def test_anything_else_is_one_error(value: Any) -> None:
    for parse in (documents.parse_manifest, documents.parse_config):
        if isinstance(value, dict):
            value.setdefault("schemaVersion", 2)
        try:
            parse(json.dumps(value).encode())
        except errors.SpecError:
            pass


@pytest.mark.parametrize(
    ("word", "shown"),
    [("linux/amd64", "linux/amd64"), ("arm64", "linux/arm64"), ("linux/arm/v7", "linux/arm/v7"),
     ("x86_64", "linux/amd64"), ("Linux/AMD64", "linux/amd64")],
)  # fmt: skip
def test_platforms(word: str, shown: str) -> None:
    assert str(documents.parse_platform(word)) == shown


@pytest.mark.parametrize("word", ["", "a/b/c/d", "linux/", "a b", "linux/../x"])
def test_what_is_no_platform(word: str) -> None:
    with pytest.raises(errors.UsageError, match="invalid platform"):
        documents.parse_platform(word)
