"""Variables in Compose files, and the files that variables come from."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcontainer import errors
from labcontainer.compose import document, environment, interpolation

VALUES = {"SET": "value", "EMPTY": ""}
names = st.sampled_from(["SET", "EMPTY", "UNSET"])
literals = st.text(st.characters(exclude_characters="${}\x00"), max_size=8)


@pytest.mark.parametrize(
    ("operator", "when_set", "when_empty", "when_unset"),
    [
        (":-", "value", "word", "word"), ("-", "value", "", "word"),
        (":+", "word", "", ""), ("+", "word", "word", ""),
        (":?", "value", None, None), ("?", "value", "", None),
    ],
)  # fmt: skip
def test_modifiers(
    operator: str, when_set: str, when_empty: str | None, when_unset: str | None
) -> None:
    wanted = {"SET": when_set, "EMPTY": when_empty, "UNSET": when_unset}
    for name, value in wanted.items():
        text = f"<${{{name}{operator}word}}>"
        if value is None:
            with pytest.raises(interpolation.InterpolationError) as caught:
                interpolation.substitute(text, VALUES)
            assert str(caught.value) == f"required variable {name} is missing a value: word"
        else:
            assert interpolation.substitute(text, VALUES) == f"<{value}>"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$SET-x", "value-x"), ("${SET}x", "valuex"), ("$$SET", "$SET"), ("$$$SET", "$value"),
        ("${UNSET:-a${EMPTY:-b$SET}c}d", "abvaluecd"), ("${UNSET-$$}", "$"),
        ("${UNSET:-{}}", "{}"), ("${UNSET:-a:b}", "a:b"), ("${UNSET:-}", ""),
        ("${SET:+${SET}}", "value"), ("$UNSET", ""), ("a$SET$SET", "avaluevalue"),
    ],
)  # fmt: skip
def test_what_variables_become(text: str, value: str) -> None:
    assert interpolation.substitute(text, VALUES) == value


@pytest.mark.parametrize("text", ["$", "a$-", "${", "${SET", "${}", "${1}", "${SET!x}", "$1", "$ "])
def test_what_is_no_variable(text: str) -> None:
    with pytest.raises(interpolation.InterpolationError, match="invalid interpolation format"):
        interpolation.substitute(text, VALUES)


def test_who_is_told_of_unset_variables() -> None:
    told: list[str] = []
    interpolation.substitute("$UNSET ${SET:+$OTHER} ${THIRD:-x} $EMPTY", VALUES, told.append)
    assert told == ["UNSET", "OTHER"]


@given(literals)
def test_text_without_dollars_is_left_alone(text: str) -> None:
    assert interpolation.substitute(text, VALUES) == text


@given(st.text(st.characters(exclude_characters="\x00"), max_size=20))
def test_escaping_dollars_gives_any_text_back(text: str) -> None:
    assert interpolation.substitute(text.replace("$", "$$"), VALUES) == text


@given(st.text(alphabet="${}:-?+SETUN a\\", max_size=24))
def test_any_text_is_a_value_or_an_error(text: str) -> None:
    try:
        done = interpolation.substitute(text, {})
    except interpolation.InterpolationError:
        return
    assert "${" not in done or "$$" in text


words = st.text("abc xyz", max_size=5)


@given(st.lists(st.tuples(names, st.sampled_from([":-", "-", ":+", "+"]), words), max_size=4))
def test_modifiers_are_the_shells(uses: list[tuple[str, str, str]]) -> None:
    text = "|".join(f"${{{name}{operator}{word}}}" for name, operator, word in uses)
    script = f'printf %s "{text}"'
    shell = subprocess.run(["sh", "-c", script], env=VALUES, capture_output=True, check=True)
    assert interpolation.substitute(text, VALUES) == shell.stdout.decode()


def test_values_of_a_document_are_interpolated_and_keys_are_not() -> None:
    found = document.parse("a: {$SET: [$SET, 1, {b: '${EMPTY:-x}'}]}", "c.yaml")
    done = interpolation.interpolate(found, VALUES)
    assert done.data == {"a": {"$SET": ["value", 1, {"b": "x"}]}}


def test_an_error_names_the_place() -> None:
    found = document.parse("services:\n  web:\n    image: ${TAG:?which one}\n", "c.yaml")
    with pytest.raises(errors.SpecError) as caught:
        interpolation.interpolate(found, {})
    wanted = "c.yaml:3: services.web.image: required variable TAG is missing a value: which one"
    assert str(caught.value) == wanted


def test_variables_are_listed() -> None:
    found = list(interpolation.variables({"a": ["${A:-$B}", "$$C"], "d": 1, "e": "${E?no}"}))
    assert [(one.name, one.operator, one.word) for one in found] == [
        ("A", ":-", "$B"), ("B", "", ""), ("E", "?", "no"),
    ]  # fmt: skip


# --- env files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=1\nB = 2 \n\n# no\nexport C=3", {"A": "1", "B": "2", "C": "3"}),
        ("A: 1", {"A": "1"}),
        ("A=x # comment\nB=x#y\nC=#z", {"A": "x", "B": "x#y", "C": ""}),
        ("A='$SET # \"'", {"A": '$SET # "'}),
        ("A='it\\'s'", {"A": "it's"}),
        ('A="a\\nb\\t\\"$SET\\" \\$SET \\\\"', {"A": 'a\nb\t"value" $SET \\'}),
        ('A="two\nlines"\nB=1', {"A": "two\nlines", "B": "1"}),
        ("A=$SET\nB=${A}2\nC=${NO:-x}", {"A": "value", "B": "value2", "C": "x"}),
        ("SET\nNO\nB=", {"SET": "value", "B": ""}),
        ("\ufeffA=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("A=a=b", {"A": "a=b"}),
    ],
)
def test_env_files(text: str, found: dict[str, str]) -> None:
    assert environment.parse(text, ".env", VALUES) == found


def test_raw_values_are_left_alone() -> None:
    text = "A='$SET' # x"
    assert environment.parse(text, ".env", VALUES, raw=True) == {"A": "'$SET' # x"}


def test_the_callers_value_counts_more_inside_a_file() -> None:
    assert environment.parse("SET=own\nB=$SET", ".env", VALUES) == {"SET": "own", "B": "value"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("A=1\n=2", "x.env:2: '=2' is no NAME=VALUE"),
        ("A='1", "x.env:1: unterminated quoted value"),
        ("A B=1", "x.env:1: 'A B=1' is no NAME=VALUE"),
        ("\nA=${B:?gone}", "x.env:2: required variable B is missing a value: gone"),
    ],
)
def test_env_files_that_are_wrong(text: str, problem: str) -> None:
    with pytest.raises(errors.UsageError) as caught:
        environment.parse(text, "x.env", {})
    assert str(caught.value) == f"env file {problem}"


def test_env_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match="No such file or directory"):
        environment.read(os.fspath(tmp_path / "none"), {})


env_values = st.text(st.characters(exclude_characters="\x00\r'\\", codec="utf-8"), max_size=12)


@given(st.dictionaries(st.from_regex(r"\A[A-Z_][A-Z0-9_]{0,5}\Z"), env_values, max_size=5))
def test_single_quotes_keep_any_value(values: dict[str, str]) -> None:
    text = "".join(f"{name}='{value}'\n" for name, value in values.items())
    assert environment.parse(text, ".env", {}) == values
