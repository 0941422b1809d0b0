"""dockerfile.parse: a Dockerfile's text as a list of instructions."""

from __future__ import annotations

from labcontainer.build import dockerfile
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def parse(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile: keyword in capitals, and the rest of the line.

    Empty lines and lines that begin with # say nothing, between the lines of one instruction too.
    A backslash at the end of a line: the instruction goes on in the next one.
    """
    found, begun = [], ""
    for line in text.splitlines():
        ...
    return found
'''

_READ = """\
        if not line.strip() or line.strip().startswith("#"):
            continue
        begun += line.rstrip().removesuffix("\\\\")
        if not line.rstrip().endswith("\\\\"):
            keyword, _, rest = begun.strip().partition(" ")
            found.append((keyword.upper(), rest.strip()))
            begun = ""
"""
SOLUTION = HOLE.replace("        ...\n", _READ)

NO_COMMENTS = SOLUTION.replace(' or line.strip().startswith("#")', "")
NO_CONTINUATION = SOLUTION.replace('if not line.rstrip().endswith("\\\\"):', "if True:").replace(
    '.removesuffix("\\\\")', ""
)
AS_WRITTEN = SOLUTION.replace("keyword.upper()", "keyword")
COMMENT_ENDS = SOLUTION.replace("continue\n", 'begun = ""\n            continue\n')


def check(trial: Trial) -> Outcome:
    word = trial.token("word")
    for text, hint in (
        (f"FROM {word}\nCMD run\n", "Keyword and rest are parted by the first space."),
        (f"# a comment\n\nFROM {word}\n  # another\n", "A line that begins with # says nothing."),
        (f"from {word}\nRun echo Hi\n", "from, From and FROM are the same: give capitals."),
        (f"FROM {word}\nRUN one && \\\n    two\n", "After a backslash the instruction goes on."),
        (
            f"FROM {word}\nRUN one && \\\n# why\n\n    two {word}\nCMD x\n",
            "A comment between the lines of one instruction does not end it.",
        ),
        (f"FROM {word}\nRUN echo a#b\n", "In the middle of a line # is a letter as any other."),
    ):
        found = trial.call("parse", text)
        wanted = [[line.keyword, line.rest] for line in dockerfile.parse(text).lines]
        if _plain(found) != _plain(wanted):
            return not_yet(
                expected=repr(_plain(wanted)),
                observed=repr(_plain(found)),
                where=f"for the text {text!r}",
                hint=hint,
            )
    return done("six files, read as the package's own parser reads them")


def _plain(found: object) -> object:
    """Without the blanks between the parts of one instruction."""
    if not isinstance(found, list):
        return found
    return [[" ".join(str(part).split()) for part in one] for one in found]


EXERCISE = Exercise(
    id="dockerfile.parse",
    notebook="12_dockerfile",
    title="Read a Dockerfile",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "First leave out what says nothing, then collect in `begun` until no backslash follows.",
        '`begun += line.rstrip().removesuffix("\\\\")`; without a backslash it is complete.',
        '`keyword, _, rest = begun.strip().partition(" ")`, append, and `begun = ""`.',
    ),
    wrong=(
        Wrong(NO_COMMENTS, "begins with # says nothing"),
        Wrong(NO_CONTINUATION, "the instruction goes on"),
        Wrong(AS_WRITTEN, "give capitals"),
        Wrong(COMMENT_ENDS, "does not end it"),
    ),
)
