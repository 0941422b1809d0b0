"""dockerfile.ignored: what .dockerignore leaves out."""

from __future__ import annotations

from labcontainer.build import ignore
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import fnmatch


def matches(pattern: str, path: str) -> bool:
    """Whether a pattern means this very path: as many parts, and each of them fits."""
    parts = list(zip(pattern.split("/"), path.split("/")))
    same = pattern.count("/") == path.count("/")
    return same and all(fnmatch.fnmatchcase(part, wanted) for wanted, part in parts)


def ignored(lines: list[str], path: str) -> bool:
    """Whether a file is left out of the context.

    A pattern that means a directory means all that is in it. The last line that means the file
    counts; `!` before a pattern takes files back in.
    """
    places = path.split("/")
    above = ["/".join(places[:number]) for number in range(1, len(places) + 1)]
    out = False
    for line in lines:
        ...
    return out
'''

_READ = """\
        pattern = line.removeprefix("!")
        if any(matches(pattern, one) for one in above):
            out = not line.startswith("!")
"""
SOLUTION = HOLE.replace("        ...\n", _READ)

NO_BACK = SOLUTION.replace('out = not line.startswith("!")', "out = True")
FIRST = SOLUTION.replace(
    '            out = not line.startswith("!")', '            return not line.startswith("!")'
)
ONLY_ITSELF = SOLUTION.replace(
    "any(matches(pattern, one) for one in above)", "matches(pattern, path)"
)
KEEPS_MARK = SOLUTION.replace('line.removeprefix("!")', "line")


def check(trial: Trial) -> Outcome:
    word = trial.token("word")
    for lines, path, hint in (
        ([f"{word}.log"], f"{word}.log", "A pattern that means the file leaves it out."),
        ([f"{word}"], "other", "Nothing means this file: it is not left out."),
        (["*.md", "!README.md"], "README.md", "`!` takes a file back in."),
        (["*.md", "!README.md"], "notes.md", "`!README.md` does not mean this file."),
        (["!README.md", "*.md"], "README.md", "The last line that means the file counts."),
        ([f"{word}"], f"{word}/deep/file", "A directory that is left out takes its files along."),
        ([".git", "!.git/keep"], ".git/keep", "Taken back in, below a directory that is out."),
        (["*/tmp"], f"{word}/tmp/a", "`*` is one part of the path, and what is in it goes too."),
        (["*.log"], f"{word}/a.log", "`*` never means a slash: *.log is at the top alone."),
    ):
        found = trial.call("ignored", lines, path)
        wanted = ignore.parse("\n".join(lines)).excludes(path)
        if found is not wanted:
            return not_yet(
                expected=f"{path}: {'left out' if wanted else 'sent'}",
                observed="left out" if found else "sent",
                where=f"with the lines {lines}",
                hint=hint,
            )
    return done("nine files, judged as the package's own .dockerignore does")


EXERCISE = Exercise(
    id="dockerfile.ignored",
    notebook="12_dockerfile",
    title=".dockerignore",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "Go through all lines; each that means the file, or a directory above it, decides anew.",
        "`above` is the file and every directory above it: `any(matches(pattern, one) …)`.",
        'The pattern is the line without `!`; then `out = not line.startswith("!")`.',
    ),
    wrong=(
        Wrong(NO_BACK, "takes a file back in"),
        Wrong(FIRST, "back in"),
        Wrong(ONLY_ITSELF, "takes its files along"),
        Wrong(KEEPS_MARK, "takes a file back in"),
    ),
)
