"""The life of a container: start, stop, kill, pause, restart, its end, and what follows from it.

    created ── start ──> running ── pause ──> paused
                           │  ^                 │ unpause
                     end   │  └─────────────────┘
                           v
        restarting <── exited ── remove ──> gone
            └── start, after a pause that grows

Each verb holds the container's lock for as long as it changes it. Whoever waits (stop, wait) holds
nothing: the end is told by the monitor, on a thread of its own.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import sys
import threading
import time

from labcontainer import cgroups, errors
from labcontainer.engine import container as states
from labcontainer.engine import hostconfig, launch, moments, watch
from labcontainer.engine.attachments import Attachments
from labcontainer.engine.health import Health
from labcontainer.engine.restarts import Restarts
from labcontainer.runtime import ending, state, zygote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from labcontainer.engine.container import Container
    from labcontainer.engine.engine import Engine
    from labcontainer.runtime.zygote import Exit, Handle

STOP_TIMEOUT = 10  # seconds; Docker's


class Lives:
    """What starts and ends containers. `save` writes one down."""

    def __init__(self, engine: Engine, save: Callable[[Container], None]) -> None:
        self._engine = engine
        self._write = save
        self._watch = watch.Watch()
        self._handles: dict[str, Handle] = {}
        self._restarts = Restarts(self._start_again)
        self._health = Health(engine)
        self.attachments = Attachments()
        self.removed: Callable[[Container], None] = lambda _container: None
        self.closing = False

    def _save(self, container: Container) -> None:
        """Write down what has happened. On a full disk that can't be, and it must be told all the
        same: the next daemon sees by itself what runs (`recover`)."""
        try:
            self._write(container)
        except errors.LabError as error:
            sys.stderr.write(f"container {container.id}: {error}\n")

    # --- start ------------------------------------------------------------------------------------

    def start(self, container: Container) -> bool:
        """Start a container; false where it runs already.

        Raises:
            StateError: it is paused or being removed.
            LabError, OSError: it could not be started; it is as it was.
        """
        with container.lock:
            if container.state.status == states.PAUSED:
                raise errors.StateError("cannot start a paused container, try unpause instead")
            if container.state.status in (states.REMOVING, states.DEAD):
                raise errors.StateError("container is marked for removal and cannot be started")
            if container.state.running:
                return False
            self._restarts.cancel(container)
            container.stopped_by_user, container.restart_count = False, 0
            self._start(container)
            return True

    def _start(self, container: Container) -> None:
        """From nothing to a running program, or back to nothing."""
        try:
            handle = launch.launch(self._engine, container)
        except (errors.LabError, OSError) as error:
            self._failed_to_start(container, error)
            raise launch.as_docker_says(error) from error
        try:
            if container.host["Sysctls"]:  # what they say of new interfaces comes before those
                handle.become_ready()
            try:
                self._engine.networks.attach(container, handle.pid)
                self.attachments.connect(container)
            except OSError:
                handle.become_ready()  # tells why its process has gone, when that is the reason
                raise
            container.state.pid = handle.pid
            self._write(container)  # who kills us now leaves a number to find it by
            handle.start()
        except (errors.LabError, OSError) as error:
            _end(handle)
            try:
                self._engine.networks.detach(container)
            finally:  # who waits for its end hears of it, whatever can't be taken back
                self._failed_to_start(container, error)
            raise launch.as_docker_says(error) from error
        container.state = states.State(
            status=states.RUNNING, pid=handle.pid, started_at=moments.now(),
            finished_at=container.state.finished_at,
        )  # fmt: skip
        self._watch_over(container, handle)
        self._health.begin(container)
        self._save(container)
        self.tell(container, "start")
        self.attachments.ring(container)

    def watch(self, handle: Handle, ended: Callable[[Handle, Exit | None], None]) -> None:
        """Hear of the end of another process that has a monitor."""
        self._watch.add(handle, ended)

    def _watch_over(self, container: Container, handle: Handle) -> None:
        self._handles[container.id] = handle
        self._watch.add(handle, lambda ended, found: self._ended(container, ended, found))

    def _failed_to_start(self, container: Container, error: Exception) -> None:
        self._engine.volumes.unmount(container)
        self.attachments.dismiss(container)
        container.state.pid = 0
        container.state.status = states.CREATED if _never_ran(container) else states.EXITED
        status = getattr(error, "exit_status", 0)
        container.state.exit_code = status if status in (126, 127) else 128
        container.exits.append(container.state.exit_code)
        container.state.error = str(error)
        self._save(container)
        self.tell(container, "die", exitCode=str(container.state.exit_code))
        self.attachments.ring(container)
        if container.host["AutoRemove"]:
            self.removed(container)

    def _start_again(self, container: Container) -> None:
        """A restart that was waited for."""
        with container.lock:
            if container.state.status != states.RESTARTING or self._restarts.closed:
                return
            container.restart_count += 1
            try:
                self._start(container)
            except (errors.LabError, OSError):
                self._decide_restart(container)  # it may work the next time

    # --- the end ----------------------------------------------------------------------------------

    def _ended(self, container: Container, handle: Handle, found: Exit | None) -> None:
        """The monitor has told of the end, or has died."""
        with container.lock:
            if self._handles.get(container.id) is not handle or self.closing:
                return
            del self._handles[container.id]
            handle.close()
            if found is None:  # nobody reads its output any more, nor will learn how it ends
                ending.delete(self._engine.runtime_root, container.id, force=True)
                found = watch.read_exit(container.home)
            self._has_ended(container, found)

    def _has_ended(self, container: Container, found: Exit) -> None:
        self._health.end(container)
        with contextlib.ExitStack() as last:
            # What can't be taken back is told, and keeps nobody waiting for the end.
            last.callback(self._tell_end, container, found)
            last.callback(self._engine.volumes.unmount, container)
            self._engine.networks.detach(container)

    def _tell_end(self, container: Container, found: Exit) -> None:
        container.exits.append(found.status)
        was = container.state
        container.state = states.State(
            status=states.EXITED, exit_code=found.status, oom=found.oom, error=found.error,
            started_at=was.started_at, finished_at=found.time, health=was.health,
        )  # fmt: skip
        self._save(container)
        if found.oom:
            self.tell(container, "oom")
        lasted = max(moments.moment(found.time) - moments.moment(was.started_at), 0.0)
        self.tell(container, "die", exitCode=str(found.status), execDuration=str(int(lasted)))
        self._decide_restart(container)
        self.attachments.ring(container)
        if container.host["AutoRemove"] and container.state.status == states.EXITED:
            self.removed(container)

    def _decide_restart(self, container: Container) -> None:
        if self._restarts.wanted(container):
            container.state.status = states.RESTARTING
            self._restarts.schedule(container)
        self._save(container)

    # --- stop, kill -------------------------------------------------------------------------------

    def stop(self, container: Container, seconds: int | None = None, word: str = "") -> bool:
        """Ask it to end, and after so many seconds (-1: any) end it; false where it has ended.

        Raises:
            UsageError: there is no such signal.
        """
        with container.lock:  # an end that is being told may yet become a restart
            if self._stopped_between_restarts(container):
                return True
            if not container.state.running:
                return False
            number = hostconfig.signal_number(word or container.config["StopSignal"])
            container.stopped_by_user = True
            started, paused = container.state.started_at, container.state.status == states.PAUSED
        given = container.config["StopTimeout"] if seconds is None else seconds
        seconds = STOP_TIMEOUT if given is None else given
        with self.attachments.bell(container) as bell:
            self._signal(container, number)
            if paused:
                self._thaw(container)
            if not self._wait_for_end(container, started, bell, seconds):
                self._signal(container, signal.SIGKILL)
                self._wait_for_end(container, started, bell, -1)
        self.tell(container, "stop")
        return True

    def _stopped_between_restarts(self, container: Container) -> bool:
        if container.state.status != states.RESTARTING:
            return False
        self._restarts.cancel(container)
        container.stopped_by_user = True
        container.state.status = states.EXITED
        self._save(container)
        self.attachments.ring(container)
        return True

    def _thaw(self, container: Container) -> None:
        try:
            self._group(container).thaw()
        except (errors.StateError, errors.UnsupportedError):
            pass  # it has just ended

    def _wait_for_end(self, container: Container, started: str, bell: int, seconds: float) -> bool:
        """Wait until this life of it is over; false when the time is."""
        deadline = time.monotonic() + seconds
        while (now := container.state).running and now.started_at == started:
            left = deadline - time.monotonic() if seconds >= 0 else None
            if left is not None and left <= 0:
                return False
            select.select([bell], [], [], left if left is None else min(left, 3600))
            try:
                os.eventfd_read(bell)
            except BlockingIOError:
                pass
        return True

    def kill(self, container: Container, word: str = "KILL") -> None:
        """Send a signal.

        Raises:
            StateError: it does not run. UsageError: there is no such signal.
        """
        number = hostconfig.signal_number(word, signal.SIGKILL)
        with container.lock:
            if self._stopped_between_restarts(container):
                return
            if not container.state.running:
                raise errors.StateError(
                    f"cannot kill container: {container.name}: "
                    f"container {container.id} is not running"
                )
            stopping = hostconfig.signal_number(container.config["StopSignal"])
            container.stopped_by_user |= number in (signal.SIGKILL, stopping)
            started = container.state.started_at
        if number != signal.SIGKILL:
            self._signal(container, number)
        else:
            with self.attachments.bell(container) as bell:
                self._signal(container, number)
                self._wait_for_end(container, started, bell, STOP_TIMEOUT)
        self.tell(container, "kill", signal=str(number))

    def _signal(self, container: Container, number: int) -> None:
        try:
            ending.kill(self._engine.runtime_root, container.id, number)
        except (errors.NotFoundError, errors.StateError):
            pass  # it has just ended

    def restart(self, container: Container, seconds: int | None = None, word: str = "") -> None:
        """Stop it, if it runs, and start it."""
        self.stop(container, seconds, word)
        self.start(container)
        self.tell(container, "restart")

    # --- pause ------------------------------------------------------------------------------------

    def pause(self, container: Container) -> None:
        """Let every process of it stand still.

        Raises:
            StateError: it does not run, or stands still already.
        """
        with container.lock:
            if container.state.status == states.PAUSED:
                raise errors.StateError(f"Container {container.id} is already paused")
            if container.state.status != states.RUNNING:
                raise errors.StateError(f"Container {container.id} is not running")
            try:
                self._group(container).freeze()
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENODEV):
                    raise
                raise _not_running(container) from None  # its monitor is about to tell of its end
            container.state.status = states.PAUSED
            self._save(container)
        self._health.end(container)
        self.tell(container, "pause")

    def unpause(self, container: Container) -> None:
        """Let them go on.

        Raises:
            StateError: it is not paused.
        """
        with container.lock:
            if container.state.status != states.PAUSED:
                raise errors.StateError(f"Container {container.id} is not paused")
            self._group(container).thaw()
            container.state.status = states.RUNNING
            self._save(container)
        self._health.begin(container)
        self.tell(container, "unpause")

    def group(self, container: Container) -> cgroups.Cgroup:
        """The cgroup of a running container.

        Raises:
            StateError: it does not run. UnsupportedError: this user has no cgroup for it.
        """
        if not container.state.running:
            raise _not_running(container)
        return self._group(container)

    def _group(self, container: Container) -> cgroups.Cgroup:
        directory = state.Directory(self._engine.runtime_root, container.id)
        try:
            found = cgroups.reopen(directory.load().cgroup)
        except errors.NotFoundError:  # it has just ended: its monitor is about to tell
            raise _not_running(container) from None
        if found is None:
            raise errors.UnsupportedError(
                "this container", "it has no cgroup of its own", "delegate one to this user"
            )
        return found

    def resize(self, container: Container, rows: int, columns: int) -> None:
        """Tell its terminal how large the window is.

        Raises:
            StateError: it does not run.
        """
        with container.lock:  # whoever hears of its end closes the handle
            try:
                self._handles[container.id].resize(rows, columns)
            except (KeyError, OSError):
                raise _not_running(container) from None

    # --- after a start of the daemon --------------------------------------------------------------

    def recover(self, container: Container) -> None:
        """Find out what became of a container since the daemon before this one ended."""
        remembered = container.state
        directory = state.Directory(self._engine.runtime_root, container.id)
        handle = zygote.find(container.home, remembered.pid)
        if handle is not None:
            if not remembered.running:
                remembered.status, remembered.started_at = states.RUNNING, moments.now()
            try:
                remembered.status = directory.status(directory.load())
            except errors.NotFoundError:
                pass  # it is just ending: its monitor is about to tell
            self._engine.networks.rejoin(container)
            self._engine.volumes.mount_again(container)
            self._watch_over(container, handle)
            self._health.begin(container)
            self._save(container)
            return
        ending.delete(self._engine.runtime_root, container.id, force=True)
        if remembered.running or remembered.status == states.RESTARTING:
            self._has_ended(container, watch.read_exit(container.home))
        else:
            self._engine.networks.detach(container)
            if remembered.status == states.EXITED and self._restarts.after_boot(container):
                container.state.status = states.RESTARTING
                self._restarts.schedule(container)

    def shut_down(self, every: list[Container]) -> None:
        """Stop all at once: the machine goes down, or the daemon does.

        Nobody has asked for it, so those that are to be started always are, the next time.
        """
        self._restarts.close()
        running = [one for one in every if self._runs(one)]
        threads = [threading.Thread(target=self.stop, args=(one,)) for one in running]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for one in running:
            with one.lock:  # what follows from its end (--rm) is done too
                one.stopped_by_user = False
                self._save(one)

    def _runs(self, container: Container) -> bool:
        with container.lock:  # a start that is under way is waited for
            return container.state.running

    def close(self) -> None:
        """Watch over nothing any more; containers run on."""
        self.closing = True
        self._restarts.close()
        self._health.close()
        self._watch.close()

    def tell(self, container: Container, action: str, **attributes: str) -> None:
        """An event of the container's."""
        about = {**container.labels, **attributes, "image": container.image,
                 "name": container.name}  # fmt: skip
        self._engine.events.tell_all("container", action, container.id, about)


def _end(handle: Handle) -> None:
    """End a container that is not to live, and hear the end of it."""
    try:
        signal.pidfd_send_signal(handle.pidfd, signal.SIGKILL)
        handle.wait()
    except (errors.LabError, OSError, KeyError):
        pass
    handle.close()


def _not_running(container: Container) -> errors.StateError:
    return errors.StateError(f"Container {container.id} is not running")


def _never_ran(container: Container) -> bool:
    return container.state.started_at == moments.NEVER
