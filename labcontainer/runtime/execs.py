"""`labcontainer-oci exec`: one more process in a running container."""

from __future__ import annotations

import os

from labcontainer.capabilities import Sets
from labcontainer.errors import UsageError
from labcontainer.kernel import sockets
from labcontainer.runtime import console, container, joining, jsontext
from labcontainer.runtime.oci import Call
from labcontainer.runtime.spec import Process, read_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def exec_(call: Call) -> int:
    """Run a program in the container; in the foreground its exit status is ours."""
    own = call.own
    detached = own.has("detach")
    asked = joining.Exec(
        id=call.id,
        root=call.root,
        process=lambda document: process(call, document),
        pid_file=own.get("pid-file"),
        console=own.get("console-socket") or -1,
        preserve_fds=call.preserved(),
        ignore_paused=own.has("ignore-paused"),
    )
    mine = theirs = -1
    if asked.console == -1 and not detached:
        mine, theirs = sockets.pair()
        asked = asked.replace(console=theirs)
    with console.Signals() as signals:
        pid, pidfd = joining.execute(asked)
        if detached:
            return 0
        os.close(theirs)
        _, descriptors = sockets.receive(mine, 4096)
        os.close(mine)
        master = descriptors[0] if descriptors else -1
        console.Foreground(pidfd, master).wait(signals)
        return container.exit_status(os.waitid(os.P_PID, pid, os.WEXITED | container.WALL))


def process(call: Call, document: dict[str, Any]) -> Process:
    """The process to run: --process's, or the container's own with the words of the call."""
    own = call.own
    if own.get("process"):
        path = own.get("process")
        return read_process(jsontext.load(path), os.path.basename(path))
    if not call.rest:
        raise UsageError("exec: the program to run is missing")
    made = read_process({**document, "args": call.rest, "terminal": own.has("tty")})
    made = made.replace(env=(*made.env, *own.list_of("env")))
    if own.get("cwd"):
        made = made.replace(cwd=own.get("cwd"))
    if own.has("no-new-privs"):
        made = made.replace(no_new_privileges=True)
    made = made.replace(user=_user(call, made))
    if caps := tuple(own.list_of("cap")):
        sets = made.capabilities or Sets()
        more = {
            name: (*getattr(sets, name), *caps) for name in ("bounding", "effective", "permitted")
        }
        made = made.replace(capabilities=sets.replace(**more))
    return made


def _user(call: Call, made: Process) -> Any:
    """--user UID[:GID] and --additional-gids, as numbers."""
    user, gids = made.user, call.own.list_of("additional-gids")
    words = [*call.own.get("user").split(":")] if call.own.get("user") else []
    if not all(word.isdecimal() for word in (*words, *gids)) or len(words) > 2:
        raise UsageError("exec: --user and --additional-gids take numbers: UID[:GID]")
    if words:
        user = user.replace(uid=int(words[0]), gid=int(words[1]) if len(words) > 1 else user.gid)
    if gids:
        user = user.replace(additional_gids=(*user.additional_gids, *map(int, gids)))
    return user
