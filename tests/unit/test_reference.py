"""Names of images, against the rules of distribution/reference."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcontainer import errors
from labcontainer.image import reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("word", "canonical", "familiar"),
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("team/app", "docker.io/team/app:latest", "team/app:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/a/b", "docker.io/a/b:latest", "a/b:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/app:x", "localhost:5000/app:x", "localhost:5000/app:x"),
        ("ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1"),
        ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
        (f"a@{DIGEST}", f"docker.io/library/a@{DIGEST}", f"a@{DIGEST}"),
        (f"a:t@{DIGEST}", f"docker.io/library/a:t@{DIGEST}", f"a:t@{DIGEST}"),
        ("MyHost/app", "MyHost/app:latest", "MyHost/app:latest"),
        ("a.b-c__d", "docker.io/library/a.b-c__d:latest", "a.b-c__d:latest"),
    ],
)
def test_parts(word: str, canonical: str, familiar: str) -> None:
    found = reference.parse(word)
    assert (found.canonical, found.familiar) == (canonical, familiar)


@pytest.mark.parametrize(
    "word",
    ["", ":tag", "a:", "A", "a b", "a//b", "/a", "a/", "-a", "a..b", "a:b c", "a@sha256:12",
     "a@md5:" + "a" * 32, "b" * 300, "a:" + "t" * 129, "f" * 64, "http://a/b", "a\n", "a/é",
     "UP/Case:x/y", "host:port/a"],
)  # fmt: skip
def test_what_is_no_name(word: str) -> None:
    with pytest.raises(errors.UsageError, match="invalid reference format") as caught:
        reference.parse(word)
    assert "\n" not in str(caught.value)


@given(st.text(alphabet="abc.:/@-_AZ019 \n", max_size=40))
def test_what_is_parsed_means_the_same_again(word: str) -> None:
    try:
        found = reference.parse(word)
    except errors.UsageError:
        return
    assert reference.parse(found.canonical) == found
    assert reference.parse(found.familiar) == found
