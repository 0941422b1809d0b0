"""Overlay options: their escapes, their length, and the plan."""

from __future__ import annotations

from labcontainer import overlay
from labcontainer.overlay import Overlay


def test_options() -> None:
    spec = Overlay(("/b", "/a"), "/u", "/w")
    assert overlay.options(spec) == "lowerdir=/b:/a,upperdir=/u,workdir=/w"
    spec = Overlay(("/b",), user_xattr=True, extra=("index=off",))
    assert overlay.options(spec) == "lowerdir=/b,userxattr,index=off"


def test_characters_that_mean_something_to_overlayfs_are_escaped() -> None:
    spec = Overlay(("/a:b", "/c,d"), "/u:p", "/w\\x")
    assert overlay.options(spec) == r"lowerdir=/a\:b:/c\,d,upperdir=/u:p,workdir=/w\\x"


def test_options_relative_to_a_store() -> None:
    spec = Overlay(("/store/l/B", "/store/l/A"), "/store/c/u", "/store/c/w")
    assert overlay.options(spec, "/store") == "lowerdir=l/B:l/A,upperdir=c/u,workdir=c/w"


def test_plan_tells_when_a_page_is_not_enough() -> None:
    assert [str(step) for step in overlay.plan(Overlay(("/a",)), "/m")] == [
        "mount overlay on /m (lowerdir=/a)"
    ]
    many = Overlay(tuple(f"/var/lib/labcontainer/layers/{n:064x}" for n in range(60)))
    planned = [str(step) for step in overlay.plan(many, "/m")]
    assert "more than a page" in planned[0] and len(planned) == 62
