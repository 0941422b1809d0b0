"""Start, stop, and remove the containers of a project in the order of their dependencies."""

from __future__ import annotations

from collections.abc import Callable, Collection

from labcontainer import errors
from labcontainer.client.api import ApiError, Client
from labcontainer.compose import graph, model, waiting
from labcontainer.compose.happenings import Happenings, WaitTimeoutError
from labcontainer.compose.model import Dependency, Project, Service
from labcontainer.compose.observed import Container, Containers
from labcontainer.compose.resources import Tell
from labcontainer.compose.scalars import Tree


class DependencyError(errors.LabError):
    """A service was not started, since what it depends on is not as it must be."""


def start(
    client: Client, project: Project, there: Containers, happenings: Happenings, tell: Tell,
    anew: Collection[str] = (),
) -> None:  # fmt: skip
    """Start all containers that do not run; each service as soon as its dependencies allow.

    `anew` are services whose containers are new: those that depend on them with `restart` are
    restarted.

    Raises:
        DependencyError: a condition will not be met.
        LabError: a container could not be started.
    """

    def act(name: str) -> None:
        service = project.services[name]
        for one in service.depends_on:
            _wait(client, project, service, one, there, happenings, tell)
        restart = any(one.restart and one.service in anew for one in service.depends_on)
        containers = {one.id: one for one in there.get(name, ())}

        def begin(identity: str) -> None:
            _begin(client, service, containers[identity], restart and name not in anew, tell)

        graph.walk({identity: set() for identity in containers}, begin,
                   most=project.parallel_within)  # fmt: skip

    graph.walk(graph.needs(project.services), act, happenings.interrupt, project.parallel)


def _begin(client: Client, service: Service, one: Container, restart: bool, tell: Tell) -> None:
    if one.running:
        if restart:
            tell(f"Container {one.name}", "Restarting")
            client.post(f"/containers/{one.id}/restart")
        tell(f"Container {one.name}", "Started" if restart else "Running")
        return
    tell(f"Container {one.name}", "Starting")
    client.post(f"/containers/{one.id}/start")
    tell(f"Container {one.name}", "Started")
    for hook in service.get("post_start", ()):
        run_hook(client, one, hook)


def _wait(
    client: Client, project: Project, service: Service, dependency: Dependency,
    there: Containers, happenings: Happenings, tell: Tell,
) -> None:  # fmt: skip
    """Wait for one dependency; one that is not required may fail."""
    other = dependency.service
    if other not in project.services or not project.services[other].scale:
        return
    containers = there.get(other, [])
    if not containers:
        if dependency.required:
            raise DependencyError(f"{service.name} is missing dependency {other}")
        return
    if dependency.condition == model.STARTED:
        return
    for one in containers:
        tell(f"Container {one.name}", "Waiting")
    try:
        waiting.until(client, happenings, dependency.condition, other, containers)
    except waiting.ConditionError as error:
        if dependency.required:
            raise DependencyError(f"dependency failed to start: {error}") from None
        tell(f"Service {other}", f"Skipped: optional dependency failed to start: {error}")
        return
    done = {model.HEALTHY: "Healthy", model.COMPLETED: "Exited"}[dependency.condition]
    for one in containers:
        tell(f"Container {one.name}", done)


def wait_all(
    client: Client, project: Project, there: Containers, happenings: Happenings, tell: Tell,
    seconds: float | None,
) -> None:  # fmt: skip
    """`up --wait`: until all services run, and are healthy where they have a health check.

    Raises:
        LabError: one is not, or it took too long.
    """

    def act(name: str) -> None:
        condition = waiting.wanted(project, name)
        try:
            waiting.until(client, happenings, condition, name, there.get(name, []), seconds)
        except WaitTimeoutError:
            raise WaitTimeoutError("application not healthy after --wait-timeout") from None
        for one in there.get(name, ()):
            tell(f"Container {one.name}", "Healthy")

    graph.walk({name: set() for name in project.services}, act, happenings.interrupt)


def run_hook(client: Client, one: Container, hook: Tree) -> None:
    """Run a `post_start` or `pre_stop` command in a container.

    Raises:
        LabError: it ended with another status than 0.
    """
    variables = [key if word is None else f"{key}={word}"
                 for key, word in hook.get("environment", {}).items()]  # fmt: skip
    body = {
        "Cmd": hook["command"], "User": hook.get("user", ""), "Env": variables,
        "Privileged": bool(hook.get("privileged")), "WorkingDir": hook.get("working_dir", ""),
        "AttachStdout": True, "AttachStderr": True,
    }  # fmt: skip
    identity = client.post(f"/containers/{one.id}/exec", body)["Id"]
    sock, said = client.hijack(f"/exec/{identity}/start", {"Detach": False, "Tty": False})
    while data := sock.recv(65536):
        said += data
    sock.close()
    status = client.get(f"/exec/{identity}/json")["ExitCode"]
    if status:
        raise errors.LabError(f"hook {hook['command']!r} of {one.name} exited with {status}")


# --- stopping -------------------------------------------------------------------------------------


def stop(
    client: Client, project: Project, there: Containers, tell: Tell, timeout: int | None = None,
    cancel: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """Stop the containers of the project's services, those first that others do not need.

    On Ctrl-C `cancel` is called, so that those which are being stopped end.

    Raises:
        ApiError: one could not be stopped.
    """
    _reversed(project, there, lambda one: stop_one(client, project, one, tell, timeout), cancel)


def remove(
    client: Client, project: Project, there: Containers, tell: Tell, timeout: int | None = None,
    *, volumes: bool = False,
) -> None:  # fmt: skip
    """Stop and remove them.

    Raises:
        ApiError: one could not be removed.
    """

    def act(one: Container) -> None:
        stop_one(client, project, one, tell, timeout)
        remove_one(client, one, tell, volumes=volumes)

    _reversed(project, there, act)


def _reversed(
    project: Project, there: Containers, act: Callable[[Container], None],
    cancel: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    def each(name: str) -> None:
        members = {one.id: one for one in there.get(name, ())}
        graph.walk({key: set() for key in members}, lambda key: act(members[key]),
                   most=project.parallel_within)  # fmt: skip

    graph.walk(graph.reversed_needs(project.services), each, cancel, project.parallel)


def stop_one(
    client: Client, project: Project, one: Container, tell: Tell, timeout: int | None
) -> None:
    """Stop a container if it runs, after its `pre_stop` commands."""
    if not one.running:
        return
    tell(f"Container {one.name}", "Stopping")
    service = project.services.get(one.service)
    try:
        for hook in service.get("pre_stop", ()) if service else ():
            run_hook(client, one, hook)
        client.post(f"/containers/{one.id}/stop", t=timeout)
    except ApiError as error:
        if error.status not in (404, 409):  # it has just ended, or is gone
            raise
    tell(f"Container {one.name}", "Stopped")


def remove_one(client: Client, one: Container, tell: Tell, *, volumes: bool) -> None:
    """Remove a container; `volumes` are its anonymous ones, those too that it took over."""
    owned = _anonymous(client, one) if volumes else []
    tell(f"Container {one.name}", "Removing")
    try:
        client.delete(f"/containers/{one.id}", force=True, v=volumes)
        for name in owned:
            client.delete(f"/volumes/{name}")
    except ApiError as error:
        if error.status not in (404, 409):  # gone already, or another container has it too
            raise
    tell(f"Container {one.name}", "Removed")


def _anonymous(client: Client, one: Container) -> list[str]:
    """Volumes whose name is 64 hexadecimal digits: the daemon gave it.

    Those that a container took over from the one before count as named for the daemon.
    """
    found = []
    for mount in client.get(f"/containers/{one.id}/json")["Mounts"]:
        name = mount.get("Name") or ""
        if (
            mount["Type"] == "volume"
            and len(name) == 64
            and not set(name) - set("0123456789abcdef")
        ):
            found.append(name)
    return found


def kill_all(client: Client, there: Containers, signal: str = "SIGKILL") -> None:
    """Send a signal to all that run."""
    for members in there.values():
        for one in members:
            try:
                client.post(f"/containers/{one.id}/kill", signal=signal)
            except ApiError as error:
                if error.status not in (404, 409):
                    raise
