"""users.lookup: whom a name means, by the container's own table."""

from __future__ import annotations

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def lookup(who: str, passwd: str) -> tuple[int, int] | None:
    """(uid, gid) of a name or number in the text of a passwd file; a bare number is (number, 0)."""
    for line in passwd.splitlines():
        ...
    return (int(who), 0) if who.isdecimal() else None
'''

SOLUTION = '''\
def lookup(who: str, passwd: str) -> tuple[int, int] | None:
    """(uid, gid) of a name or number in the text of a passwd file; a bare number is (number, 0)."""
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) != 7 or not (fields[2].isdecimal() and fields[3].isdecimal()):
            continue
        if who in (fields[0], fields[2]):
            return int(fields[2]), int(fields[3])
    return (int(who), 0) if who.isdecimal() else None
'''

_WHOLE = "        if len(fields) != 7 or not (fields[2].isdecimal() and fields[3].isdecimal()):\n"
TRUSTING = SOLUTION.replace(_WHOLE + "            continue\n", "")
BY_NAME = SOLUTION.replace("who in (fields[0], fields[2])", "who == fields[0]")
ANY_FIELD = SOLUTION.replace("who in (fields[0], fields[2])", "who in fields")
PREFIX = SOLUTION.replace("who in (fields[0], fields[2])", "line.startswith(who)")


def check(trial: Trial) -> Outcome:
    uid, gid = trial.number("uid", 100, 400), trial.number("gid", 500, 900)
    table = (
        "root:x:0:0:root:/root:/bin/sh\n# accounts\ntorn:x:7\n"
        f"bad:x:{uid}x:1::/:/bin/sh\nwebmaster:x:61:62::/:/bin/sh\n"
        f"desc:x:71:72:web:/:/bin/sh\nweb:x:{uid}:{gid}::/srv:/bin/sh\nlast:x:9"
    )
    for who, answer, hint in (
        ("root", [0, 0], "Fields 3 and 4, counted from 1, are the numbers."),
        ("web", [uid, gid], "Only the first field is the name, and all of it."),
        (str(uid), [uid, gid], "A number may stand in the table too, with a group of its own."),
        ("72", [72, 0], "A group's number is no user."),
        ("1234", [1234, 0], "A number needs no line."),
        ("nobody", None, "A name that is not there is nobody: None."),
        ("torn", None, "A line that is torn is no line."),
        ("last", None, "A line that is torn is no line."),
        ("bad", None, "A number that is none makes the line void."),
    ):
        result = trial.attempt("lookup", who, table)
        if not result.returned:
            return not_yet(
                expected=f"lookup({who!r}, table) = {answer}",
                observed=result.error,
                where=f"line {result.line} of the cell",
                hint="An image's passwd may be torn, or hostile: seven fields and two numbers, or "
                "the line does not count.",
            )
        if result.value != answer:
            return not_yet(
                expected=f"lookup({who!r}, table) = {answer}",
                observed=repr(result.value),
                where="the condition",
                hint=hint,
            )
    return done("names, numbers and torn lines")


EXERCISE = Exercise(
    id="users.lookup",
    notebook="04_users",
    title="Who is `--user web`?",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    hints=(
        "A line of passwd(5) has seven fields with colons between.",
        "Take a line only if it has seven, and fields 3 and 4 are numbers.",
        "`if who in (fields[0], fields[2]): return int(fields[2]), int(fields[3])`",
    ),
    wrong=(
        Wrong(TRUSTING, "may be torn, or hostile"),
        Wrong(BY_NAME, "with a group of its own"),
        Wrong(ANY_FIELD, "Only the first field is the name"),
        Wrong(PREFIX, "Only the first field is the name"),
    ),
)
