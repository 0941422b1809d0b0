"""runtime.words: what an engine says to a runtime, on its command line."""

from __future__ import annotations

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
ALONE = ("all", "debug", "force", "no-pivot", "systemd-cgroup", "version")


def words(argv: list[str]) -> tuple[list[str], dict[str, str]]:
    """An engine's command line as (words, options).

    Options come before the verb and after it, as `--name value` or `--name=value`; those in ALONE
    have no value and get "". What is no option is a word: the verb, the container, a signal.
    """
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    found, options, rest = [], {}, list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            found.append(word)
        elif equals or name in ALONE:
            options[name] = value
        else:
            options[name] = rest.pop(0)
    return found, options
""",
)

ONLY_EQUALS = SOLUTION.replace("elif equals or name in ALONE:", "else:").replace(
    "        else:\n            options[name] = rest.pop(0)\n", ""
)
ONLY_BLANK = SOLUTION.replace("elif equals or name in ALONE", "elif name in ALONE")
ALL_TAKE = SOLUTION.replace("elif equals or name in ALONE", "elif equals")


def check(trial: Trial) -> Outcome:
    name = f"box-{trial.token('name')}"
    cases: tuple[tuple[list[str], list[str], dict[str, str], str], ...] = (
        (["start", name], ["start", name], {}, "The plainest: two words."),
        (["create", "--bundle", "/b", "--pid-file", "/p", name], ["create", name],
         {"bundle": "/b", "pid-file": "/p"},
         "podman's: the word after `--bundle` is its value, and no container."),
        (["--root=/run/x", "--log-format=json", "state", name], ["state", name],
         {"root": "/run/x", "log-format": "json"},
         "containerd's: the value may stand behind `=`."),
        (["--systemd-cgroup", "delete", "--force", name], ["delete", name],
         {"systemd-cgroup": "", "force": ""},
         "Those in ALONE take no value: the next word is a word of its own."),
        (["--log", "/l=1", "kill", name, "9"], ["kill", name, "9"], {"log": "/l=1"},
         "The `=` is in the value, not in the name."),
    )  # fmt: skip
    for argv, wanted, options, hint in cases:
        result = trial.attempt("words", argv)
        if not result.returned or result.value != [wanted, options]:
            return not_yet(
                expected=f"{' '.join(argv)}: {(wanted, options)}",
                observed=str(tuple(result.value)) if result.returned else result.error,
                where="`words`",
                hint=hint,
            )
    return done("five command lines, of three engines")


EXERCISE = Exercise(
    id="runtime.words",
    notebook="13_runtime",
    title="An engine's words",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "Take words from the front of a list, one after the other; some take a second one along.",
        '`word.removeprefix("--").partition("=")` gives name, `=` or nothing, value.',
        "Three cases: no `--`, a word. With `=`, or in ALONE: the value is there. Else: pop it.",
    ),
    wrong=(
        Wrong(ONLY_EQUALS, "and no container"),
        Wrong(ONLY_BLANK, "behind `=`"),
        Wrong(ALL_TAKE, "take no value"),
    ),
)
