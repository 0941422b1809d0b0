"""breakouts.listen: a socket for orders that a container in the host's network can't reach."""

from __future__ import annotations

import os
import stat

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import os
import socket


def listen(folder: str) -> socket.socket:
    """A socket on which the engine's shim takes orders, from whoever may enter `folder`.

    `folder` is the engine's own directory. Nobody but its owner may enter it, then.
    """
    server = socket.socket(socket.AF_UNIX)
    ...
    server.listen()
    return server
'''

_BIND = '    os.chmod(folder, 0o700)\n    server.bind(f"{folder}/shim.sock")\n'
SOLUTION = HOLE.replace("    ...\n", _BIND)

ABSTRACT = SOLUTION.replace(_BIND, '    server.bind("\\0shim")\n')
RANDOM = SOLUTION.replace(_BIND, '    server.bind(f"\\0{os.urandom(16).hex()}")\n')
OPEN = SOLUTION.replace("    os.chmod(folder, 0o700)\n", "")
LOOPBACK = SOLUTION.replace(_BIND, '    server.bind(("127.0.0.1", 0))\n').replace(
    "AF_UNIX", "AF_INET"
)

SCENE = """

from labcontainer.lab import attacks_found, box

def _held(folder):
    os.umask(0)
    global _server
    _server = listen(folder)

def _tried(treasure):
    os.umask(0)
    box.furnish(treasure)
    return attacks_found.order(listen)
"""


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    folder = trial.directory("shim")
    os.chmod(folder, 0o755)
    with trial.hold("_held", folder) as process:
        names = [row.split()[7:] for row in process.read("net/unix").splitlines()[1:]]
        ports = [row.split() for row in process.read("net/tcp").splitlines()[1:]]
    wrong = _look(folder, [name[0] for name in names if name], ports)
    if wrong:
        return wrong
    found = trial.call("_tried", trial.secret(), timeout=20)
    if found["attack"] or not found["honest"]:
        return not_yet(
            expected="only the engine's orders are answered, and the host's service is reached",
            observed=found["answer"] or found["told"],
            where="`listen`",
            hint="The check tried every name and port that it could find from inside.",
        )
    return done("no abstract name and no port: a file in a directory that is closed to others")


def _look(folder: str, names: list[str], ports: list[list[str]]) -> Outcome | None:
    """What the kernel lists, and the modes of the files."""
    expected = f"a socket below {folder}, closed to others"
    abstract = [name for name in names if name.startswith("@")]
    if abstract or ports:
        long = abstract and len(abstract[0]) > 20
        hint = (
            "The network namespace has the names that begin with @, and lists them for all in it."
        )
        if long:
            hint = "A name that is hard to guess need not be guessed: /proc/net/unix lists it."
        if ports:
            hint = (
                "The loopback belongs to the network namespace, too: a container in it reaches you."
            )
        observed = "an abstract name, @…" if abstract else "a port of the loopback"
        return not_yet(expected=expected, observed=observed, where="`bind`", hint=hint)
    mine = [name for name in names if name.startswith(f"{folder}/")]
    if not mine:
        return not_yet(
            expected=expected, observed="no such socket", where="`bind`",
            hint="A path below `folder`, such as `shim.sock`, is a file: the socket's name.",
        )  # fmt: skip
    modes = [stat.S_IMODE(os.stat(path).st_mode) for path in (folder, mine[0])]
    if all(mode & 0o077 for mode in modes):
        return not_yet(
            expected=expected,
            observed=f"modes {modes[0]:o} and {modes[1]:o}",
            where="before `bind`",
            hint="Every user of the host may enter and connect. Mode 0700 for the directory.",
        )
    return None


EXERCISE = Exercise(
    id="breakouts.listen",
    notebook="19_breakouts",
    title="A socket that is a file",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    seconds=45,
    hints=(
        "A Unix socket may have a path for its name; then the rights of the directory count.",
        "`os.chmod` closes the directory to others, `server.bind(path)` makes the file.",
        '`os.chmod(folder, 0o700)`, then `server.bind(f"{folder}/shim.sock")`.',
    ),
    wrong=(
        Wrong(ABSTRACT, "the names that begin with @"),
        Wrong(RANDOM, "need not be guessed"),
        Wrong(OPEN, "Every user of the host"),
        Wrong(LOOPBACK, "The loopback belongs"),
    ),
)
