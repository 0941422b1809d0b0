"""runtime.hook: a hook plugs a cable into the container."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from labcontainer.image import hostbase
from labcontainer.kernel import netlink
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
from labcontainer.kernel import netlink, rtnetlink


def hook(state: dict) -> None:
    """A createRuntime hook: a cable from here into the container that `state` tells of.

    The end there is called eth0 and lies in the network namespace of process state["pid"]; ours is
    called lc and the container's id.
    """
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    with open(f"/proc/{state['pid']}/ns/net") as there, netlink.Netlink() as socket:
        socket.do(rtnetlink.add_veth(f"lc{state['id']}", "eth0", netns=there.fileno()))
""",
)

BOTH_HERE = SOLUTION.replace(", netns=there.fileno()", "")
ONE_NAME = SOLUTION.replace("f\"lc{state['id']}\"", '"lc0"')
SELF = SOLUTION.replace("{state['pid']}", "self")

# What makes a program of the function.
AS_PROGRAM = "import json, sys\nhook(json.load(sys.stdin))\n"


def check(trial: Trial) -> Outcome:
    bundle = trial.directory("bundle")
    hostbase.build(hostbase.recipe("tools", ("sleep",)), f"{bundle}/rootfs")
    program = f"{bundle}/hook"
    with open(program, "w") as file:
        file.write(f"#!{sys.executable}\n{trial.code}\n\n{AS_PROGRAM}")
    os.chmod(program, 0o755)
    config = {
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": {"args": ["sleep", "30"], "cwd": "/", "env": ["PATH=/bin"]},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [{"type": kind} for kind in ("mount", "pid", "network", "uts")]},
        "hooks": {"createRuntime": [{"path": program, "env": [f"HOME={bundle}"], "timeout": 8}]},
    }
    with open(f"{bundle}/config.json", "w") as file:
        json.dump(config, file)
    for name in ("one", "two"):
        failed = _create(bundle, name)
        if failed:
            return failed
        found = _looks(bundle, name)
        if found:
            return found
    return done("two containers, a cable into each, plugged in before the program began")


def _oci(bundle: str, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "labcontainer.runtime.oci", f"--root={bundle}/state", *words]
    quiet = subprocess.DEVNULL
    # What the container inherits must not be a pipe that this check waits on.
    with open(f"{bundle}/said", "w") as said:
        ended = subprocess.run(argv, stdin=quiet, stdout=said, stderr=said, check=False)
    with open(f"{bundle}/said") as said:
        return subprocess.CompletedProcess(argv, ended.returncode, said.read(), "")


def _create(bundle: str, name: str) -> Outcome | None:
    """Create a container; what its hook said if it failed."""
    ended = _oci(bundle, "create", "--bundle", bundle, "--pid-file", f"{bundle}/{name}.pid", name)
    if ended.returncode == 0:
        return None
    exists = "File exists" in ended.stdout
    line = (ended.stdout.strip().splitlines() or ["no word"])[-1]
    return not_yet(
        expected=f"container {name} is created, and with it a cable",
        observed=line[-160:],
        where="the name of our end" if exists else "`hook`",
        hint="Two containers, one name: our end's name must hold the container's id."
        if exists and name == "two"
        else "Both ends were in one namespace, where the first has its own eth0 already?"
        if exists
        else "What a hook writes to standard error comes back in the runtime's error.",
    )


def _looks(bundle: str, name: str) -> Outcome | None:
    """What the kernel says of the cable of one container."""
    with open(f"{bundle}/{name}.pid") as file:
        pid = file.read()
    with open(f"/proc/{pid}/ns/net") as there, netlink.connect_in(there.fileno()) as socket:
        inside = {link.name for link in socket.links()}
    with netlink.Netlink() as socket:
        here = {link.name for link in socket.links()}
    if "eth0" not in inside:
        return not_yet(
            expected="eth0 in the container's network namespace",
            observed=f"there: {', '.join(sorted(inside))}; here: {', '.join(sorted(here))}",
            where="the `netns` of the cable",
            hint="A hook runs outside: the other end must be born where state['pid'] is.",
        )
    if f"lc{name}" not in here:
        return not_yet(
            expected=f"our end is called lc{name}",
            observed=f"here: {', '.join(sorted(here))}",
            where="the name of our end",
            hint="The id is in state['id'].",
        )
    return None


EXERCISE = Exercise(
    id="runtime.hook",
    notebook="13_runtime",
    title="A hook",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    seconds=25,
    hints=(
        "`/proc/PID/ns/net` is the container's network namespace; open it.",
        (
            "`rtnetlink.add_veth(ours, theirs, netns=descriptor)` is a request; "
            "`netlink.Netlink().do(request)` asks for it."
        ),
        '`socket.do(rtnetlink.add_veth(f"lc{state[\'id\']}", "eth0", netns=there.fileno()))`.',
    ),
    wrong=(
        Wrong(BOTH_HERE, "A hook runs outside"),
        Wrong(ONE_NAME, "our end is called"),
        Wrong(SELF, "A hook runs outside"),
    ),
)
