"""breakouts.close_settings: the kernel's settings, to be read and not to be written."""

from __future__ import annotations

from labcontainer import capabilities
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Held, Trial

HOLE = '''\
from labcontainer import capabilities
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import MS


def close_settings() -> None:
    """In the container, before its program: nothing of /proc/sys can be written any more.

    For reading it stays. Of all capabilities the program needs CAP_NET_ADMIN.
    """
    ...
'''

_COVER = """\
    syscalls.mount("/proc/sys", "/proc/sys", None, MS.BIND)
    syscalls.mount(None, "/proc/sys", None, MS.REMOUNT | MS.BIND | MS.RDONLY)
"""
_DROP = """\
    keep = ("CAP_NET_ADMIN",)
    capabilities.apply_bounding(keep)
    capabilities.apply(capabilities.default_sets(keep))
"""
SOLUTION = HOLE.replace("    ...\n", _COVER + _DROP)

ONLY_COVER = SOLUTION.replace(_DROP, "")
ONLY_DROP = SOLUTION.replace(_COVER, "")
ONE_CALL = SOLUTION.replace(
    _COVER, '    syscalls.mount("/proc/sys", "/proc/sys", None, MS.BIND | MS.RDONLY)\n'
)
MASKED = SOLUTION.replace(_COVER, '    syscalls.mount("none", "/proc/sys", "tmpfs", MS.RDONLY)\n')
ALL_OF_PROC = SOLUTION.replace('"/proc/sys"', '"/proc"')
NO_RIGHT = SOLUTION.replace('("CAP_NET_ADMIN",)', "()")
NOT_NOW = SOLUTION.replace("    capabilities.apply(capabilities.default_sets(keep))\n", "")

SCENE = """

from labcontainer.lab import attacks_kernel, box

def _held(treasure):
    box.furnish(treasure)
    box.enter(box.NAIVE)
    close_settings()

def _tried(treasure):
    box.furnish(treasure)
    return attacks_kernel.setting(close_settings)
"""


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    found = trial.call("_tried", trial.secret(), timeout=20)
    with trial.hold("_held", trial.secret(), namespaces=("mnt", "uts"), timeout=20) as process:
        bits = int(process.status("CapEff"), 16)
        wrong = _look(found, process, capabilities.names(bits))
    if wrong:
        return wrong
    left = bits.bit_count()
    return done(
        "/proc/sys is read-only, and nobody in there can change a mount",
        score=f"{left} capabilit{'y' if left == 1 else 'ies'} left",
    )


def _look(found: dict[str, object], process: Held, names: tuple[str, ...]) -> Outcome | None:
    told, answer = str(found["told"]), str(found["answer"])
    if not found["attack"] and found["honest"]:
        return None
    covers = [one for one in process.mounts() if one.point == "/proc/sys"]
    if "as it is: written" in told:
        hint = (
            "A bind takes no other flag with it: the second call, MS.REMOUNT, makes it read-only."
        )
        if not covers:
            hint = "These files ask for CAP_NET_ADMIN, which the program may have, or for none."
    elif found["attack"]:
        hint = "A cover that root can take off is no cover: that takes CAP_SYS_ADMIN."
        if "CAP_SYS_ADMIN" in capabilities.names(int(process.status("CapEff"), 16)) and (
            "CAP_SYS_ADMIN" not in capabilities.names(int(process.status("CapBnd"), 16))
        ):
            hint = "The bound counts from the next exec on; what counts now is the effective set."
    elif "No such file" in answer:
        hint = "An honest program reads its settings: don't hide them, make them read-only."
    elif "Read-only" in answer:
        hint = "An honest program writes to /proc/self: only /proc/sys has the settings."
    else:
        hint = f"An honest program was told: {answer}. It sets up its network."
    return not_yet(
        expected="the setting is what it was after four attempts, and the honest program runs",
        observed=told if found["attack"] else f"the honest program: {answer}",
        where="`close_settings`",
        hint=hint,
    )


EXERCISE = Exercise(
    id="breakouts.close_settings",
    notebook="19_breakouts",
    title="A cover that stays on",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox", "mount"),
    seconds=45,
    hints=(
        "Two parts: a read-only cover (notebook 02), and nobody who may take it off (06).",
        "Bind /proc/sys on itself, remount that with MS.REMOUNT | MS.BIND | MS.RDONLY.",
        "Then `capabilities.apply_bounding(keep)` and `apply(default_sets(keep))`.",
    ),
    wrong=(
        Wrong(ONLY_COVER, "A cover that root can take off"),
        Wrong(ONLY_DROP, "These files ask for"),
        Wrong(ONE_CALL, "A bind takes no other flag"),
        Wrong(MASKED, "don't hide them"),
        Wrong(ALL_OF_PROC, "only /proc/sys has the settings"),
        Wrong(NO_RIGHT, "It sets up its network"),
        Wrong(NOT_NOW, "counts from the next exec on"),
    ),
)
