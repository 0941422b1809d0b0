"""The graph of stages: what needs what, what is built, in which order."""

from __future__ import annotations

import pytest

from labcontainer import errors
from labcontainer.build import graph
from labcontainer.build.dockerfile import parse
from labcontainer.build.errors import DockerfileError

THREE = """
ARG VERSION=12
FROM debian:$VERSION AS build
RUN make
FROM build AS docs
RUN make docs
FROM alpine
RUN --mount=from=docs,target=/x true
COPY --from=build /a /b
COPY --from=busybox:1 /bin/sh /bin/
"""


def drawn(text: str, **given: str) -> graph.Graph:
    return graph.draw_up(parse(text), given)


def test_what_a_stage_stands_on() -> None:
    build, docs, last = drawn(THREE).stages
    assert (build.base, build.needs, build.images) == ("debian:12", (), ("debian:12",))
    assert (docs.base, docs.needs, docs.images) == (0, (0,), ())
    assert (last.base, last.needs) == ("alpine", (1, 0))
    assert last.images == ("alpine", "busybox:1")


def test_only_what_a_target_needs_is_built() -> None:
    found = drawn(THREE)
    assert [one.name for one in found.needed()] == ["build", "docs", "stage-2"]
    assert [one.name for one in found.needed("docs")] == ["build", "docs"]
    assert [one.name for one in found.needed("0")] == ["build"]
    with pytest.raises(errors.UsageError, match="target stage 'nope' could not be found"):
        found.needed("nope")


def test_independent_stages_are_side_by_side() -> None:
    text = "FROM x AS a\nFROM y AS b\nFROM scratch\nCOPY --from=a / /\nCOPY --from=b / /"
    names = [[one.name for one in level] for level in drawn(text).levels()]
    assert names == [["a", "b"], ["stage-2"]]


def test_arguments_before_from() -> None:
    assert drawn(THREE, VERSION="13").stages[0].base == "debian:13"
    assert drawn(THREE, VERSION="13").arguments == {"VERSION": "13"}
    text = "ARG a=x\nARG b=${a}y\nFROM $b"
    assert drawn(text).stages[0].base == "xy"
    found = graph.draw_up(parse("FROM --platform=$TARGETPLATFORM x"), {}, {"TARGETPLATFORM": "l/a"})
    assert found.stages[0].platform == "l/a"


def test_a_stage_may_be_named_like_an_image_before() -> None:
    found = drawn("FROM debian AS debian\nFROM debian")
    assert found.stages[0].base == "debian"
    assert found.stages[1].base == 0


@pytest.mark.parametrize(
    "text",
    [
        "FROM x AS a\nCOPY --from=a / /",
        "FROM x AS a\nCOPY --from=b / /\nFROM y AS b\nCOPY --from=a / /",
        "FROM x AS a\nCOPY --from=1 / /\nFROM a",
    ],
)
def test_circles_are_refused(text: str) -> None:
    with pytest.raises(DockerfileError, match="circular dependency detected on stage"):
        drawn(text).needed()


def test_it_prints() -> None:
    assert str(drawn(THREE)) == (
        "0  build    <- debian:12\n1  docs     <- build\n2  stage-2  <- docs, build, alpine, "
        "busybox:1"
    )
    assert str(drawn("FROM scratch")) == "0  stage-0  <- scratch"
