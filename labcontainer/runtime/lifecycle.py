"""The life of a container, as a table: which verb is allowed in which state, and what follows.

    create ──> creating ──> created ──start──> running ──(the program ends)──> stopped ──delete
                               │                 │  ↑
                               │               pause resume
                               │                 ↓  │
                               └──kill──────>  paused

The states are the runtime-spec's (runtime.md, "State"), with `paused` as runc has it. A state is
never stored: it is read off the machine (`container.status`), so a killed runtime can't leave a
false one behind. This table alone says what a verb may be applied to.
"""

from __future__ import annotations

from labcontainer.errors import StateError

CREATING, CREATED, RUNNING, PAUSED, STOPPED = "creating", "created", "running", "paused", "stopped"
STATES = (CREATING, CREATED, RUNNING, PAUSED, STOPPED)

TRANSITIONS: dict[tuple[str, str], str] = {
    (CREATED, "start"): RUNNING,
    (CREATED, "kill"): STOPPED,
    (RUNNING, "kill"): STOPPED,
    (PAUSED, "kill"): STOPPED,
    (CREATED, "pause"): PAUSED,
    (RUNNING, "pause"): PAUSED,
    (PAUSED, "resume"): RUNNING,
    (CREATED, "exec"): CREATED,
    (RUNNING, "exec"): RUNNING,
    (CREATED, "update"): CREATED,
    (RUNNING, "update"): RUNNING,
    (PAUSED, "update"): PAUSED,
    (STOPPED, "delete"): "",
    (CREATED, "delete"): "",  # beyond the spec: runc ends it, and engines rely on it
}

# The words that engines look for in a refusal (conmon, containerd's shim): see check().
_WORDS = {
    ("start", STOPPED): "cannot start a container that has stopped",
    ("start", RUNNING): "cannot start an already running container",
    ("start", PAUSED): "cannot start an already running container",
    ("kill", STOPPED): "container not running",
    ("exec", STOPPED): "cannot exec in a stopped container",
    ("exec", PAUSED): "cannot exec in a paused container (use --ignore-paused to override)",
    ("pause", STOPPED): "container not running",
    ("pause", PAUSED): "container not running or created: paused",
    ("resume", RUNNING): "container not paused",
    ("resume", CREATED): "container not paused",
    ("resume", STOPPED): "container not running",
    ("update", STOPPED): "container not running",
}


def check(state: str, verb: str, container_id: str) -> str:
    """The state that `verb` leads to.

    Raises:
        StateError: the verb is not for this state.
    """
    if (state, verb) in TRANSITIONS:
        return TRANSITIONS[(state, verb)]
    words = _WORDS.get((verb, state), f"cannot {verb} a container that is {state}")
    raise StateError(f"{words}: {container_id}" if ":" not in words else words)
