"""The verbs of a container's life, as `labcontainer-oci` has them."""

from __future__ import annotations

import os

from labcontainer.errors import UsageError
from labcontainer.runtime.oci import Call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.runtime.container import Container, Create


def _asked(call: Call) -> Create:
    from labcontainer.runtime.container import Create

    own = call.own
    return Create(
        id=call.id,
        bundle=os.path.abspath(own.get("bundle", ".")),
        root=call.root,
        pid_file=own.get("pid-file"),
        console=own.get("console-socket") or -1,
        preserve_fds=call.preserved(),
        no_pivot=own.has("no-pivot"),
        new_keyring=not own.has("no-new-keyring"),
    )


def create_(call: Call) -> int:
    """Make a container; it waits for `start`."""
    from labcontainer.runtime import container

    container.create(_asked(call))
    return 0


def run_(call: Call) -> int:
    """Create, start, wait, delete; the exit status is the program's."""
    from labcontainer.kernel import sockets
    from labcontainer.runtime import console, container, ending

    asked = _asked(call).replace(gate=False)
    detached, keep = call.own.has("detach"), call.own.has("keep")
    mine = theirs = -1
    if asked.console == -1 and not detached and _wants_terminal(asked.bundle):
        mine, theirs = sockets.pair()
        asked = asked.replace(console=theirs)
    with console.Signals() as signals:
        made = container.create(asked)
        try:
            master = _master(mine, theirs)
            made.start()
        except BaseException:
            ending.delete(asked.root, asked.id, force=True)
            raise
        if detached:
            return 0
        return _wait(made, console.Foreground(made.pidfd, master), signals, keep)


def _wait(made: Container, foreground: object, signals: object, keep: bool) -> int:
    from labcontainer.runtime import console, ending

    assert isinstance(foreground, console.Foreground) and isinstance(signals, console.Signals)
    foreground.wait(signals)
    status = made.wait()
    if not keep:
        directory = made.directory
        ending.delete(os.path.dirname(directory.path), directory.id, force=True)
    return status


def _wants_terminal(bundle: str) -> bool:
    from labcontainer.runtime import container

    document, _ = container.read_document(bundle)
    process = document.get("process") if isinstance(document, dict) else None
    return isinstance(process, dict) and process.get("terminal") is True


def _master(mine: int, theirs: int) -> int:
    """The terminal's master, where the container's first process has sent it to us."""
    from labcontainer.kernel import sockets

    if mine < 0:
        return -1
    _, descriptors = sockets.receive(mine, 4096)
    os.close(mine)
    os.close(theirs)
    return descriptors[0]


def start_(call: Call) -> int:
    """Let the program of a created container run."""
    from labcontainer.runtime import starting

    starting.start(call.root, call.id)
    return 0


def state_(call: Call) -> int:
    """Print the container's state as JSON."""
    from labcontainer.runtime import jsontext, state

    directory = state.Directory(call.root, call.id)
    print(jsontext.dumps(state.to_oci(directory, directory.load()), indent=2))
    return 0


def kill_(call: Call) -> int:
    """Send a signal, TERM if none is named."""
    from labcontainer.runtime import ending

    name = call.own.rest[1] if len(call.own.rest) > 1 else "TERM"
    ending.kill(call.root, call.id, _signal(name), call.own.has("all"))
    return 0


def _signal(name: str) -> int:
    """The number of `9`, `KILL` or `SIGKILL`."""
    import signal

    number = int(name) if name.isdecimal() else 0
    if not number:
        word = name.upper()
        word = word if word.startswith("SIG") else f"SIG{word}"
        number = int(getattr(signal, word, 0)) if "_" not in word else 0
        if word.startswith("SIGRTMIN+") and word[9:].isdecimal():
            number = int(signal.SIGRTMIN) + int(word[9:])
    if not 0 < number < signal.NSIG:
        raise UsageError(f"unknown signal {name!r}")
    return number


def delete_(call: Call) -> int:
    """Forget a container that has stopped."""
    from labcontainer.runtime import ending

    ending.delete(call.root, call.id, call.own.has("force"))
    return 0
