"""capabilities.names: read the kernel's mask."""

from __future__ import annotations

from labcontainer import capabilities
from labcontainer.kernel import files
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
from labcontainer.capabilities import NAMES


def names(bits: int) -> tuple[str, ...]:
    """The names of the bits that are set; NAMES[0] is bit 0, and one without a name is CAP_41."""
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    found = []
    for number in range(bits.bit_length()):
        if bits >> number & 1:
            found.append(NAMES[number] if number < len(NAMES) else f"CAP_{number}")
    return tuple(found)
""",
)

SHIFTED = SOLUTION.replace("NAMES[number]", "NAMES[number - 1]")
BY_DIGIT = SOLUTION.replace("bits >> number & 1", 'f"{bits:x}"[number % 8] == "1"').replace(
    "range(bits.bit_length())", "range(min(bits.bit_length(), len(f'{bits:x}')))"
)
NO_NEWER = SOLUTION.replace(
    'NAMES[number] if number < len(NAMES) else f"CAP_{number}"', "NAMES[number]"
)


def check(trial: Trial) -> Outcome:
    some = sorted(trial.random().sample(range(len(capabilities.NAMES)), 6))
    own = int(files.read("/proc/self/status").partition("CapBnd:\t")[2].split()[0], 16)
    for bits, hint in (
        (0, "A mask of 0 has no bit, so no name."),
        (1, "Bit 0 is the lowest one, and stands for NAMES[0], CAP_CHOWN."),
        (sum(1 << number for number in some), "Bit number n is set if `bits >> n & 1`."),
        (own, "That is this machine's CapBnd: each bit from 0 up."),
        (1 << 41 | 1, "A kernel may be newer than our list: bit 41 is CAP_41."),
    ):
        result = trial.attempt("names", bits)
        wanted = list(capabilities.names(bits))
        if result.value != wanted:
            return not_yet(
                expected=f"names({bits:#x}): {', '.join(wanted)[:120] or 'none'}",
                observed=result.error or str(result.value)[:120],
                where="`names`",
                hint=hint,
            )
    return done("every bit has its name, one that nobody knows yet as well")


EXERCISE = Exercise(
    id="capabilities.names",
    notebook="06_capabilities",
    title="Read the kernel's mask",
    hole=HOLE,
    solution=SOLUTION,
    own="labcontainer.capabilities.names",
    replaces="labcontainer.capabilities.names",
    check=check,
    needs=("sandbox",),
    hints=(
        "Go through the numbers from 0 to bits.bit_length() - 1.",
        "`bits >> number & 1` is 1 where the bit of that number is set.",
        'Append NAMES[number], or f"CAP_{number}" where NAMES has none; return a tuple.',
    ),
    wrong=(
        Wrong(SHIFTED, "stands for NAMES[0]"),
        Wrong(BY_DIGIT, "Bit number n is set"),
        Wrong(NO_NEWER, "newer than our list"),
    ),
)
