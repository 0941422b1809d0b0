"""The Dockerfile parser: lines, words, instructions, and one clean error on anything else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcontainer.build import dockerfile, graph, instructions
from labcontainer.build.dockerfile import KEYWORDS, parse
from labcontainer.build.errors import DockerfileError
from labcontainer.build.instructions import Copy, Healthcheck, Run
from labcontainer.build.mounts import Mount, parse_mount
from labcontainer.build.words import Lexer


def only(text: str) -> instructions.Instruction:
    """The single instruction after FROM."""
    found = parse(f"FROM scratch\n{text}")
    assert len(found.lines) == 2
    return instructions.read(found.lines[1], found.escape)


# --- lines ----------------------------------------------------------------------------------------


def test_continued_lines_comments_and_blank_lines() -> None:
    text = "# comment\n\nFROM a\n  RUN one \\\n  # between\n\n   two \\  \n three\n#end\nRUN four"
    lines = parse(text).lines
    assert [(one.keyword, one.rest, one.number) for one in lines] == [
        ("FROM", "a", 3), ("RUN", "one    two  three", 4), ("RUN", "four", 10),
    ]  # fmt: skip


def test_escape_directive_leaves_backslashes_alone() -> None:
    found = parse("# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nRUN dir `\n c:\\\nRUN b")
    assert found.directives == {"syntax": "docker/dockerfile:1", "escape": "`"}
    assert [one.rest for one in found.lines] == ["a", "dir  c:\\", "b"]


def test_directive_after_a_comment_is_a_comment() -> None:
    assert parse("# hello\n# escape=`\nFROM a").escape == "\\"
    assert parse("FROM a\n# escape=`\n").escape == "\\"


def test_byte_order_mark_and_windows_lines() -> None:
    lines = parse(b"\xef\xbb\xbfFROM a\r\nRUN b \\\r\n c\r\n").lines
    assert [one.rest for one in lines] == ["a", "b  c"]


def test_an_escaped_escape_does_not_continue() -> None:
    assert [one.rest for one in parse("FROM a\nRUN x \\\\\nRUN y").lines] == ["a", "x \\\\", "y"]


def test_heredocs_of_run_and_copy() -> None:
    run, copy = parse(
        "FROM a\nRUN <<EOF cat && <<-'TWO' cat\none $x\nEOF\n\ttwo\n\tTWO\n"
        'COPY <<a.txt <<"b.txt" /dir/\nA\na.txt\nB\nb.txt\n'
    ).lines[1:]
    assert [(one.name, one.expand, one.content) for one in run.heredocs] == [
        ("EOF", True, "one $x\n"), ("TWO", False, "two\n"),
    ]  # fmt: skip
    assert [(one.name, one.expand) for one in copy.heredocs] == [("a.txt", True), ("b.txt", False)]


def test_what_only_looks_like_a_heredoc() -> None:
    lines = parse("FROM a\nRUN echo '<<EOF' $((1<<2)) <<<word\nENV A=<<EOF").lines
    assert [one.heredocs for one in lines] == [(), (), ()]


def test_flags_come_first_and_end_at_two_dashes() -> None:
    assert dockerfile.split_flags("--a=1 --b='x y' -- --c d") == (("--a=1", "--b=x y"), "--c d")


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("", 0, "file with no instructions"),
        ("# only a comment", 0, "file with no instructions"),
        ("FROM a\nRNU b", 2, "unknown instruction: RNU (did you mean RUN?)"),
        ("FROM a\nXYZZY b", 2, "unknown instruction: XYZZY"),
        ("FROM a\n\nRUN", 3, "RUN requires at least one argument"),
        ("FROM a b", 1, "FROM requires either one or three arguments"),
        ("FROM a AS 1x", 1, "invalid name for build stage"),
        ("RUN b\nFROM a", 1, "no build stage in current context"),
        ("ARG a=1", 1, "no build stage in current context"),
        ("# escape=x\nFROM a", 1, "invalid ESCAPE 'x'"),
        ("# escape=`\n# escape=`\nFROM a", 2, "only one escape parser directive"),
        ("FROM a\nRUN <<EOF\nx", 2, "unterminated heredoc 'EOF'"),
        ("FROM a\nRUN --netwrk=none b", 2, "unknown flag: --netwrk (did you mean --network?)"),
        ("FROM a\nCOPY --from x y", 2, "missing a value on flag: --from"),
        ("FROM a\nCOPY --from=1 --from=2 x y", 2, "duplicate flag specified: from"),
        ("FROM a\nCOPY x", 2, "COPY requires at least two arguments"),
        ("FROM a\nCOPY --link=perhaps x y", 2, "expecting boolean value for flag link"),
        ("FROM a\nADD --keep-git-dir x y", 2, "--keep-git-dir is not supported"),
        ("FROM a\nENV A", 2, "ENV must have two arguments"),
        ("FROM a\nENV A=1 B", 2, "Syntax error - can't find = in 'B'"),
        ("FROM a\nENV =1", 2, "ENV names can not be blank"),
        ("FROM a\nENV A='x", 2, "looking for matching single-quote"),
        ("FROM a\nSHELL /bin/sh", 2, "SHELL requires the arguments to be in JSON form"),
        ("FROM a\nONBUILD ONBUILD RUN a", 2, "Chaining ONBUILD"),
        ("FROM a\nONBUILD FROM b", 2, "FROM isn't allowed as an ONBUILD trigger"),
        ("FROM a\nONBUILD NOTHING b", 2, "unknown instruction: NOTHING"),
        ("FROM a\nHEALTHCHECK FOO a", 2, "unknown type 'FOO' in HEALTHCHECK"),
        ("FROM a\nHEALTHCHECK --interval=3 CMD a", 2, "'3' is no duration"),
        ("FROM a\nHEALTHCHECK --interval=1us CMD a", 2, "cannot be less than 1ms"),
        ("FROM a\nHEALTHCHECK --retries=x CMD a", 2, "--retries 'x'"),
        ("FROM a\nRUN --mount=type=ssh make", 2, "type=ssh is not supported"),
        ("FROM a\nRUN --mount=type=cache make", 2, "field target must not be empty"),
        ("FROM a\nRUN --mount=type=moon,target=/x make", 2, "unsupported mount type 'moon'"),
        ("FROM a\nRUN --network=moon make", 2, "unsupported network mode 'moon'"),
        ("FROM a\nSTOPSIGNAL a b", 2, "STOPSIGNAL requires exactly one argument"),
        ("FROM a\nCOPY --from=7 x y", 2, "there is no such stage"),
        ("FROM $nothing", 1, "base name ($nothing) should not be blank"),
        ("FROM a AS x\nFROM b AS X", 2, "duplicate name x"),
    ],
)  # fmt: skip
def test_error_names_the_line(text: str, line: int, problem: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        graph.draw_up(parse(text))
    assert problem in caught.value.problem
    assert caught.value.line == line
    assert "\n" not in str(caught.value)
    if line:
        assert str(caught.value).startswith(f"Dockerfile:{line}: {caught.value.problem}: ")


# --- words ----------------------------------------------------------------------------------------

VARIABLES = {"a": "foo.tar.gz", "empty": "", "two": "x y"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("$a", "foo.tar.gz"), ("${a}b", "foo.tar.gzb"), ("$none.", "."), ("\\$a", "$a"),
        ("'$a'", "$a"), ('"$a \\$a \\x"', "foo.tar.gz $a \\x"), ("${empty:-d}", "d"),
        ("${empty-d}", ""), ("${none-d$two}", "dx y"), ("${none:+d}", ""), ("${a:+d}", "d"),
        ("${empty+d}", "d"), ("${a#*.}", "tar.gz"), ("${a##*.}", "gz"), ("${a%.*}", "foo.tar"),
        ("${a%%.*}", "foo"), ("${a/o/0}", "f0o.tar.gz"), ("${a//o/0}", "f00.tar.gz"),
        ("${a//o}", "f.tar.gz"), ("${none:-${two:-z}}", "x y"), ("${none:-a\\}b}", "a}b"),
        ("a\\ b", "a b"), ("cost: 5$", "cost: 5$"), ("${a:?no}", "foo.tar.gz"),
    ],
)  # fmt: skip
def test_variables(text: str, found: str) -> None:
    assert Lexer("\\", VARIABLES).word(text) == found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("${none:?it is needed}", "none: it is needed"), ("${none?}", "none: not allowed"),
        ("${a", "missing '}'"), ("${a:=b}", "unsupported modifier (:=)"), ("${}", "bad sub"),
        ("'a", "single-quote"), ('"a', "double-quote"), ("${a^}", "unsupported modifier (^)"),
    ],
)  # fmt: skip
def test_bad_substitution(text: str, problem: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        Lexer("\\", VARIABLES).word(text)
    assert problem in str(caught.value)


def test_words_are_split_outside_of_quotes() -> None:
    assert Lexer("\\", VARIABLES).words("a 'b c' $two \"$two\" d\\ e $none") == [
        "a", "b c", "x", "y", "x y", "d e",
    ]  # fmt: skip
    assert Lexer(raw=True).words("a='b c' \"$d\"") == ["a='b c'", '"$d"']


# --- instructions ---------------------------------------------------------------------------------


def test_exec_form_is_json_and_nothing_else() -> None:
    run = only('RUN ["a", "b c"]')
    assert isinstance(run, Run)
    assert (run.words, run.shell) == (("a", "b c"), False)
    for text in ("['a']", '["a"', '["a", 1]', '["a"] && b'):
        run = only(f"RUN {text}")
        assert isinstance(run, Run)
        assert (run.words, run.shell) == ((text,), True)


def test_copy_flags() -> None:
    copy = only("COPY --from=b --chown=1:2 --chmod=755 --link --exclude=*.a --exclude=*.b a b /c/")
    assert isinstance(copy, Copy)
    assert (copy.sources, copy.target, copy.origin) == (("a", "b"), "/c/", "b")
    assert (copy.chown, copy.chmod, copy.link) == ("1:2", "755", True)
    assert copy.exclude == ("*.a", "*.b")
    assert copy.add is False


def test_copy_in_json_form_keeps_spaces() -> None:
    copy = only('ADD ["a b", "/c d/"]')
    assert isinstance(copy, Copy)
    assert (copy.sources, copy.target, copy.add) == (("a b",), "/c d/", True)


def test_mounts() -> None:
    cache = parse_mount("type=cache,target=/x,id=i,sharing=locked,mode=0700,uid=1,gid=2")
    assert cache == Mount("cache", "/x", readonly=False, id="i", sharing="locked", mode=0o700,
                          uid=1, gid=2)  # fmt: skip
    assert parse_mount("target=/x,from=a,source=/y,rw").readonly is False
    assert parse_mount("type=secret,id=t").target == "/run/secrets/t"
    assert parse_mount("type=secret,id=t,env=T").target == ""
    assert parse_mount("type=tmpfs,target=/x,size=2m").size == 2 << 20


def test_healthcheck() -> None:
    check = only("HEALTHCHECK --interval=1m30s --timeout=0s --retries=2 CMD curl -f x")
    assert isinstance(check, Healthcheck)
    assert check.test == ("CMD-SHELL", "curl -f x")
    assert check.times == {"Interval": 90 * 10**9, "Retries": 2}
    none = only("HEALTHCHECK NONE")
    assert isinstance(none, Healthcheck)
    assert none.test == ("NONE",)


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("10", "no duration"),
        ("1x", "no duration"),
        ("100us", "cannot be less than 1ms"),
        ("-1s", "cannot be less than 1ms"),
    ],
)
def test_what_is_no_time_between_health_checks(word: str, problem: str) -> None:
    with pytest.raises(DockerfileError, match=problem):
        only(f"HEALTHCHECK --interval={word} CMD true")


# --- anything -------------------------------------------------------------------------------------

pieces = st.sampled_from([
    *KEYWORDS, "\n", "\n", " ", " ", "\\\n", "#", "# escape=`\n", "--mount=", "--from=", "<<EOF",
    "<<-'A'", "EOF\n", "$a", "${a", "${a:-", "}", "'", '"', "[", "]", '["a"]', ",", "=", "a", "AS",
    "type=cache", "target=/x", "\t", "\0", "é", "--", "/", "${a//", "\\", "`", "NONE", "0",
])  # fmt: skip


def error_of(call: Callable[[], object]) -> str:
    """What a call says in one clean error; "" when all is well. Anything else goes through."""
    try:
        call()
    except DockerfileError as error:
        return str(error)
    return ""


def drawn_from(text: str) -> graph.Graph:
    return graph.draw_up(parse(text))


@given(st.one_of(st.lists(pieces, max_size=30).map("".join), st.text(max_size=80)))
def test_garbage_is_one_clean_error(text: str) -> None:
    for whole in (text, f"FROM a\n{text}"):
        assert "\n" not in error_of(partial(drawn_from, whole))


@given(st.binary(max_size=200))
def test_bytes_are_one_clean_error(data: bytes) -> None:
    assert "\n" not in error_of(lambda: parse(data))


@given(st.text(max_size=40), st.dictionaries(st.sampled_from("ab"), st.text(max_size=5)))
def test_lexer_ends_on_anything(text: str, variables: dict[str, str]) -> None:
    for call in (Lexer("\\", variables).word, Lexer("\\", variables).words):
        assert "\n" not in error_of(partial(call, text)).replace(text, "")


@given(st.text(st.characters(exclude_characters="$'\"\\", exclude_categories=["C", "Z"])))
def test_plain_words_stay(text: str) -> None:
    assert Lexer("\\", {"a": "b"}).word(text) == text
    assert Lexer("\\").words(f" {text}  x") == ([text] if text else []) + ["x"]
