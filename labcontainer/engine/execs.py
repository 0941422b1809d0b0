"""More processes in running containers: created, started, looked at, forgotten with their end.

Each has a monitor of its own, as a container has, and a directory below the container's:

    HOME/execs/ID/process.json   what it is; attach, control, exit.json as a container's home has
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading

from labcontainer import capabilities, errors, users
from labcontainer.engine import container as states
from labcontainer.engine import ociconfig, view
from labcontainer.engine.container import Container
from labcontainer.image import inside
from labcontainer.kernel import sockets
from labcontainer.runtime import jsontext
from labcontainer.runtime.maker import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from labcontainer.engine.engine import Engine
    from labcontainer.runtime.zygote import Exit, Handle

KEPT = 1000  # that have ended and can still be looked at


class Exec:
    """One process to be, that is, or that was. `exit_code` is None before its end."""

    def __init__(self, container: Container, asked: dict[str, Any]) -> None:
        self.id = os.urandom(32).hex()
        self.container = container
        self.asked = asked
        cmd = asked["Cmd"]
        self.args: list[str] = [cmd] if isinstance(cmd, str) else list(cmd)
        self.home = f"{container.home}/execs/{self.id}"
        self.started = self.running = False
        self.exit_code: int | None = None
        self.pid = 0
        self.handle: Handle | None = None
        self.ended = threading.Event()
        self.lock = threading.Lock()  # held while `handle` is used or closed

    def document(self) -> dict[str, Any]:
        """What `GET /exec/{id}/json` shows."""
        return {
            "ID": self.id,
            "Running": self.running,
            "ExitCode": self.exit_code,
            "ProcessConfig": {
                "tty": self.asked["Tty"],
                "entrypoint": self.args[0],
                "arguments": self.args[1:],
                "privileged": self.asked["Privileged"],
                **({"user": self.asked["User"]} if self.asked["User"] else {}),
            },
            "OpenStdin": self.asked["AttachStdin"],
            "OpenStderr": self.asked["AttachStderr"],
            "OpenStdout": self.asked["AttachStdout"],
            "CanRemove": self.exit_code is not None,
            "ContainerID": self.container.id,
            "DetachKeys": self.asked.get("DetachKeys", ""),
            "Pid": self.pid,
        }


class Execs:
    """All of them; they are not remembered when the daemon ends, as Docker's are not."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._all: dict[str, Exec] = {}

    def create(self, name: str, asked: dict[str, Any]) -> Exec:
        """Get one ready.

        Raises:
            NotFoundError, StateError: no such container, or it can't take one now.
            UsageError: there is nothing to run.
        """
        container = self._engine.containers.find(name)
        _check(container)
        if not asked["Cmd"]:
            raise errors.UsageError("No exec command specified")
        made = Exec(container, asked)
        with self._lock:
            self._all[made.id] = made
            ended = [one.id for one in self._all.values() if one.exit_code is not None]
            for identity in ended[: max(0, len(ended) - KEPT)]:
                del self._all[identity]
        self._tell(made, f"exec_create: {' '.join(made.args)}")
        return made

    def find(self, identity: str) -> Exec:
        """The one of an id.

        Raises:
            NotFoundError: there is none.
        """
        with self._lock:
            found = self._all.get(identity)
        if found is None:
            raise errors.NotFoundError(f"No such exec instance: {identity}")
        return found

    def of(self, container: Container) -> list[str]:
        """The ids of those that run in a container."""
        with self._lock:
            return [one.id for one in self._all.values()
                    if one.container is container and one.exit_code is None]  # fmt: skip

    def claim(self, exec_: Exec) -> None:
        """Be the one who starts it: of two who ask at once the other is refused.

        Raises:
            StateError: it was started, or its container does not run.
        """
        with self._lock:
            if exec_.exit_code is not None:
                raise errors.StateError(f"exec command {exec_.id} has already run")
            if exec_.started:
                raise errors.StateError(f"exec command {exec_.id} is already running")
            _check(exec_.container)
            exec_.started = True

    def start(self, exec_: Exec, size: list[int] | None = None) -> int:
        """Let one run that was claimed; a descriptor of its streams, to be closed by the caller.

        Raises:
            StepError: it could not be started.
        """
        os.makedirs(exec_.home, mode=0o700)
        connection = -1
        try:
            with open(f"{exec_.home}/process.json", "w") as file:
                json.dump(self._process(exec_, size), file)
            handle = self._engine.zygotes.begin(self._request(exec_))
            exec_.handle = handle
            connection = sockets.connect(f"{exec_.home}/attach")
            handle.start()
        except BaseException as error:
            exec_.exit_code = 127 if isinstance(error, errors.CommandNotFoundError) else 126
            if connection >= 0:
                os.close(connection)
            self._forget(exec_)
            raise
        exec_.pid, exec_.running = handle.pid, True
        self._tell(exec_, f"exec_start: {' '.join(exec_.args)}")
        self._engine.containers.lives.watch(handle, lambda _, found: self._ended(exec_, found))
        return connection

    def _ended(self, exec_: Exec, found: Exit | None) -> None:
        exec_.exit_code = found.status if found is not None else 137
        exec_.running = False
        self._tell(exec_, "exec_die", exitCode=str(exec_.exit_code))
        self._forget(exec_)  # who waits for its end goes on

    def _forget(self, exec_: Exec) -> None:
        with exec_.lock:
            if exec_.handle is not None:
                exec_.handle.close()
                exec_.handle = None
        shutil.rmtree(exec_.home, ignore_errors=True)
        exec_.ended.set()

    def resize(self, identity: str, rows: int, columns: int) -> None:
        """Tell its terminal how large the window is.

        Raises:
            StateError: it does not run.
        """
        exec_ = self.find(identity)
        with exec_.lock:
            try:
                if exec_.handle is not None and exec_.running:
                    exec_.handle.resize(rows, columns)
                    return
            except OSError:
                pass  # its monitor has just ended
        raise errors.StateError(f"exec process {identity} is not running")

    def kill(self, exec_: Exec) -> None:
        """End it, if it runs."""
        with exec_.lock:
            if exec_.handle is not None and exec_.running:
                try:
                    signal.pidfd_send_signal(exec_.handle.pidfd, signal.SIGKILL)
                except ProcessLookupError:
                    pass

    def _request(self, exec_: Exec) -> Request:
        return Request(
            id=exec_.container.id,
            bundle=exec_.container.home,
            root=self._engine.runtime_root,
            home=exec_.home,
            terminal=exec_.asked["Tty"],
            stdin=exec_.asked["AttachStdin"],
            log_size=-1,
            process=f"{exec_.home}/process.json",
        )

    def _process(self, exec_: Exec, size: list[int] | None) -> dict[str, Any]:
        """The `process` of the container's config.json with what is asked for this one."""
        asked, container = exec_.asked, exec_.container
        process: dict[str, Any] = jsontext.load(f"{container.home}/config.json")["process"]
        env = dict(line.partition("=")[::2] for line in (*process["env"], *(asked["Env"] or ())))
        if asked["Tty"]:
            env.setdefault("TERM", "xterm")
        process |= {
            "args": exec_.args,
            "terminal": asked["Tty"],
            "env": [f"{name}={value}" for name, value in env.items()],
            "cwd": asked["WorkingDir"] or process["cwd"],
        }
        process.pop("consoleSize", None)
        if size is not None and all(size):
            process["consoleSize"] = {"height": size[0], "width": size[1]}
        if asked["User"]:
            self._become(container, asked["User"], process)
        if asked["Privileged"]:
            names = list(capabilities.names(capabilities.bounding()))
            process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), names)
        return process

    def _become(self, container: Container, word: str, process: dict[str, Any]) -> None:
        with view.View(container) as root:
            user = users.lookup_user(word, root.fd)
        gids = ociconfig.groups(user, not inside.in_user_namespace() or inside.has_all_ids())
        process["user"] = {"uid": user.uid, "gid": user.gid, "additionalGids": gids}
        process["env"] = [line for line in process["env"] if not line.startswith("HOME=")]
        process["env"].append(f"HOME={user.home or '/'}")
        sets: dict[str, list[str]] = process["capabilities"]
        own = list(sets.get("bounding", ())) if user.uid == 0 else []
        sets |= {"effective": own, "permitted": own}

    def _tell(self, exec_: Exec, action: str, **more: str) -> None:
        self._engine.containers.lives.tell(exec_.container, action, execID=exec_.id, **more)


def _check(container: Container) -> None:
    if container.state.status == states.PAUSED:
        raise errors.StateError(
            f"container {container.id} is paused, unpause the container before exec"
        )
    if container.state.status == states.RESTARTING:
        raise errors.StateError(
            f"Container {container.id} is restarting, wait until the container is running"
        )
    if not container.state.running:
        raise errors.StateError(f"container {container.id} is not running")
