"""`.dockerignore` as Docker reads it; docker-py's own matcher is the oracle."""

from __future__ import annotations

import pytest
from docker.utils.build import PatternMatcher
from hypothesis import given
from hypothesis import strategies as st

from labcontainer import errors
from labcontainer.build import ignore


@pytest.mark.parametrize(
    ("text", "out", "kept"),
    [
        ("*.md\n!README.md", ["a.md"], ["README.md", "x/a.md"]),
        ("**/*.md", ["a.md", "x/a.md", "x/y/a.md"], ["a.txt"]),
        ("x", ["x", "x/a", "x/y/z"], ["xx", "y/x"]),
        ("/x/", ["x/a"], ["y/x"]),
        ("x/*\n!x/keep", ["x/a", "x/b/c"], ["x", "x/keep", "x/keep/deep"]),
        ("**\n!src/**", ["a", "b/c"], ["src/a", "src/b/c"]),
        ("*\n!src", ["a", "b/c"], ["src", "src/a"]),
        ("# a\n#b\n\n  c  ", ["c"], ["a", "b", "# a"]),
        ("a?c", ["abc"], ["a/c", "abbc"]),
        ("[a-c]x\n[^a-c]y", ["ax", "dy"], ["dx", "ay"]),
        ("./a/../b", ["b"], ["a"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["a/b", "z"]),
        ("**/node_modules", ["node_modules/a", "x/y/node_modules/b/c"], ["node_module"]),
        ("\\*", ["*"], ["a"]),
        ("! \ta\nb", ["b"], ["a"]),
        (".", [], ["a"]),
        ("..", [], ["a"]),
        ("\ufeffa", ["a"], []),
    ],
)
def test_patterns(text: str, out: list[str], kept: list[str]) -> None:
    found = ignore.parse(text)
    assert [path for path in [*out, *kept] if found.excludes(path)] == out


@pytest.mark.parametrize("text", ["a\n[b", "a\n!", "a\n! "])
def test_bad_pattern_is_one_line(text: str) -> None:
    with pytest.raises(errors.UsageError) as caught:
        ignore.parse(text)
    assert str(caught.value).startswith(".dockerignore:2: ")


def test_directories_that_need_not_be_looked_into() -> None:
    found = ignore.parse("*\n!src/a/*.c")
    assert found.may_hold_exceptions("src")
    assert found.may_hold_exceptions("src/a")
    assert not found.may_hold_exceptions("src/b")
    assert not found.may_hold_exceptions("other")


# docker-py looks at fewer parents than Docker where a pattern has `**`: those are in the table.
names = st.text(alphabet="ab*?.", min_size=1, max_size=3).filter(lambda name: "**" not in name)
lines = st.builds(
    lambda mark, parts, end: mark + "/".join(parts) + end,
    st.sampled_from(["", "", "!", "/"]), st.lists(names, min_size=1, max_size=3),
    st.sampled_from(["", "", "/"]),
)  # fmt: skip
paths = st.lists(st.text(alphabet="ab.", min_size=1, max_size=2), min_size=1, max_size=4).map(
    "/".join
)


@given(st.lists(lines, max_size=5), paths)
def test_agrees_with_docker_py(text: list[str], path: str) -> None:
    if path == ".dockerignore" or any(part in (".", "..") for part in path.split("/")):
        return
    if any(one.strip("!/") == ".." or ".." in one.split("/") for one in text):
        return  # docker-py resolves these against nothing
    cleaned = [one.removeprefix("/") for one in text]
    assert ignore.parse("\n".join(text)).excludes(path) == PatternMatcher(cleaned).matches(path)  # type: ignore[arg-type]


@given(st.text(max_size=60), st.text(alphabet="ab/.", min_size=1, max_size=8))
def test_anything_is_one_clean_error(text: str, path: str) -> None:
    said = ""
    try:
        found = ignore.parse(text)
    except errors.UsageError as error:
        said = str(error)
    else:
        assert found.excludes(path) in (True, False)
    assert said == "" or said.startswith(".dockerignore:")
