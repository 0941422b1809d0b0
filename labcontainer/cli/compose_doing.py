"""`compose up create scale down start stop restart kill rm wait pause unpause`."""

from __future__ import annotations

import queue
import signal
import sys
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator

from labcontainer import errors
from labcontainer.cli import compose, compose_progress, looking
from labcontainer.cli import compose_project as shared
from labcontainer.client import daemon
from labcontainer.client.api import Client
from labcontainer.compose import down, environment, graph, observed, plan, starting, up, watching
from labcontainer.compose.attached import Attached
from labcontainer.compose.happenings import Happenings
from labcontainer.compose.model import Project
from labcontainer.compose.observed import Container
from labcontainer.compose.output import Printer

# --- up and create --------------------------------------------------------------------------------


def _check(args: Namespace) -> None:
    if args.force_recreate and args.no_recreate:
        raise errors.UsageError("--force-recreate and --no-recreate are incompatible")
    if args.always_recreate_deps and args.no_recreate:
        raise errors.UsageError("--always-recreate-deps and --no-recreate are incompatible")
    if args.build and args.no_build:
        raise errors.UsageError("--build and --no-build are incompatible")


def _project(args: Namespace) -> Project:
    """The services that are asked for, with what they depend on, as many as --scale says."""
    project = shared.load(args, args.services)
    if args.services:
        project = project.only(args.services, dependencies=not args.no_deps)
    return project.scaled(compose.numbers(args.scale))


def _asked(args: Namespace, project: Project) -> up.Asked:
    mode = plan.FORCE if args.force_recreate else plan.NEVER if args.no_recreate else plan.DIVERGED
    others = plan.NEVER if args.no_recreate else plan.DIVERGED
    others = plan.FORCE if args.always_recreate_deps else others
    known = project.environment
    return up.Asked(
        plan.Wishes(mode, others, frozenset(args.services)),
        build=args.build, no_build=args.no_build, pull=args.pull,
        quiet_build=args.quiet_build, quiet_pull=args.quiet_pull,
        remove_orphans=args.remove_orphans or environment.truth(known, "COMPOSE_REMOVE_ORPHANS"),
        ignore_orphans=environment.truth(known, "COMPOSE_IGNORE_ORPHANS"),
        renew_volumes=args.renew_anon_volumes, timeout=args.timeout,
    )  # fmt: skip


def _dry(client: Client, project: Project, wishes: plan.Wishes) -> int:
    there = observed.containers(client, project.name)
    for steps in up.plan(client, project, there, wishes).values():
        for one in steps:
            print(one)
    return 0


def run_create(args: Namespace) -> int:
    """Make containers, start nothing."""
    _check(args)
    project, client = _project(args), daemon.client()
    asked = _asked(args, project)
    if args.dry_run:
        return _dry(client, project, asked.wishes)
    up.create(client, project, shared.tell(args), asked)
    return 0


def run_up(args: Namespace) -> int:
    """Make and start all; in the foreground, show its output until its end."""
    _check(args)
    _check_up(args)
    project, client, tell = _project(args), daemon.client(), shared.tell(args)
    asked = _asked(args, project)
    if args.exit_code_from:
        project.service(args.exit_code_from)
    if args.dry_run:
        return _dry(client, project, asked.wishes)
    if args.no_start:
        up.create(client, project, tell, asked)
        return 0
    with Happenings(client, project.name) as happenings:
        made = up.create(client, project, tell, asked)
        if args.detach or args.wait:
            starting.start(client, project, made.there, happenings, tell, made.anew)
            if args.wait:
                starting.wait_all(client, project, made.there, happenings, tell, args.wait_timeout)
            return 0
        return _in_foreground(args, client, project, made, happenings, tell)


def _check_up(args: Namespace) -> None:
    if args.exit_code_from:
        args.abort_on_container_exit = True
    abort = args.abort_on_container_exit or args.abort_on_container_failure
    if abort and (args.detach or args.wait):
        raise errors.UsageError("--abort-on-container-exit and --detach are incompatible")
    if args.watch and (args.detach or args.wait or abort):
        raise errors.UsageError("--watch stays in the foreground: it is incompatible with --detach")


def _in_foreground(
    args: Namespace, client: Client, project: Project, made: up.Made, happenings: Happenings,
    tell: compose_progress.Steps,
) -> int:  # fmt: skip
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    colour = shared.colours(args, off=args.no_color)
    printer = Printer(
        sys.stdout, colour=colour, prefix=not args.no_log_prefix, clock=args.timestamps
    )
    tell.beside_output()
    work = Attached(
        client, project, made.there, happenings, printer, tell, _silent(args, project),
        args.abort_on_container_exit, args.abort_on_container_failure, args.exit_code_from,
        args.timeout,
    )  # fmt: skip

    def start() -> None:
        starting.start(client, project, made.there, happenings, tell, made.anew)
        if args.watch:
            watching.in_background(client, project, tell)

    return work.run(start)


def _silent(args: Namespace, project: Project) -> set[str]:
    """The services whose output is not shown."""
    shown = set(args.attach) or set(project.services)
    if args.services and not args.attach_dependencies and not args.attach:
        shown = set(args.services)
    quiet = {name for name, one in project.services.items() if one.get("attach") is False}
    return set(project.services) - shown | set(args.no_attach) | (quiet - set(args.attach))


def run_scale(args: Namespace) -> int:
    """Have so many containers of services, and leave all others."""
    numbers = compose.numbers(args.numbers, "scale")
    project, client, tell = shared.load(args, list(numbers)), daemon.client(), shared.tell(args)
    project = project.only(numbers, dependencies=not args.no_deps).scaled(numbers)
    asked = up.Asked(plan.Wishes(targets=frozenset(numbers)), ignore_orphans=True)
    with Happenings(client, project.name) as happenings:
        made = up.create(client, project, tell, asked)
        starting.start(client, project, made.there, happenings, tell, made.anew)
    return 0


# --- down -----------------------------------------------------------------------------------------


def run_down(args: Namespace) -> int:
    """Stop and remove containers, networks, and what else is asked."""
    client, tell = daemon.client(), shared.tell(args)
    project = shared.found(args, client, args.services)
    if args.services:
        there = observed.containers(client, project.name)
        chosen = {name: there.get(name, []) for name in args.services}
        starting.remove(client, project, chosen, tell, args.timeout, volumes=args.volumes)
        return 0
    orphans = args.remove_orphans or environment.truth(
        project.environment, "COMPOSE_REMOVE_ORPHANS"
    )
    down.down(
        client, project, tell, volumes=args.volumes, images=args.rmi, orphans=orphans,
        timeout=args.timeout,
    )  # fmt: skip
    return 0


# --- the rest of a container's life ---------------------------------------------------------------


def run_start(args: Namespace) -> int:
    """Start containers that were stopped, in order."""
    client, tell = daemon.client(), shared.tell(args)
    project = shared.found(args, client, args.services)
    if args.services:
        project = project.only(args.services)
    there = observed.containers(client, project.name)
    for name in project.services:
        if not there.get(name) and project.services[name].scale:
            raise errors.NotFoundError(f'service "{name}" has no container to start')
    with Happenings(client, project.name) as happenings:
        starting.start(client, project, there, happenings, tell)
        if args.wait:
            starting.wait_all(client, project, there, happenings, tell, args.wait_timeout)
    return 0


def run_stop(args: Namespace) -> int:
    """Stop containers, those first that others do not need."""
    client = daemon.client()
    project = shared.found(args, client, args.services)
    there = observed.containers(client, project.name)
    names = args.services or list(there)
    chosen = {name: there.get(name, []) for name in names}
    starting.stop(client, project, chosen, shared.tell(args), args.timeout)
    return 0


def run_restart(args: Namespace) -> int:
    """Stop and start containers, and those that depend on them with `restart: true`."""
    client, tell = daemon.client(), shared.tell(args)
    project = shared.found(args, client, args.services)
    names = set(args.services or project.services)
    if not args.no_deps:
        names |= {
            name
            for name, one in project.services.items()
            if any(other.restart and other.service in names for other in one.depends_on)
        }
    there = observed.containers(client, project.name)

    def act(name: str) -> None:
        for one in there.get(name, ()):
            tell(f"Container {one.name}", "Restarting")
            client.post(f"/containers/{one.id}/restart", t=args.timeout)
            tell(f"Container {one.name}", "Started")

    services = {name: project.services[name] for name in names}
    graph.walk(graph.needs(services), act, most=project.parallel)
    return 0


def run_wait(args: Namespace) -> int:
    """Wait until containers have ended; the status of the last one, or of the first for `down`."""
    client = daemon.client()
    project = shared.found(args, client, args.services)
    there = observed.containers(client, project.name)
    chosen = shared.chosen(project, there, args.services)
    if not chosen:
        raise errors.NotFoundError(f"no containers for project {project.name!r}")
    status = 0
    for identity, status in _endings(client, chosen):
        print(f'container "{identity}" exited with status code {status}', flush=True)
        if args.down_project:
            down.down(client, project, shared.tell(args), orphans=True)
            break
    return status


def _endings(client: Client, containers: list[Container]) -> Iterator[tuple[str, int]]:
    """(id, exit status) of containers, as they end.

    Raises:
        LabError: the daemon could not wait.
    """
    ended: queue.SimpleQueue[tuple[str, int] | errors.LabError] = queue.SimpleQueue()

    def wait(identity: str) -> None:
        try:
            ended.put((identity, client.post(f"/containers/{identity}/wait")["StatusCode"]))
        except errors.LabError as error:
            ended.put(error)

    for one in containers:
        threading.Thread(target=wait, args=(one.id,), daemon=True).start()
    for _ in containers:
        found = ended.get()
        if isinstance(found, errors.LabError):
            raise found
        yield found


def _each(args: Namespace, verb: str, words: tuple[str, str], only: Callable[[Container], bool],
          **query: object) -> int:  # fmt: skip
    """Do something to each container of the services."""
    client, tell = daemon.client(), shared.tell(args)
    project = shared.found(args, client, args.services)
    there = observed.containers(client, project.name)
    for one in shared.chosen(project, there, args.services):
        if only(one):
            tell(f"Container {one.name}", words[0])
            client.post(f"/containers/{one.id}/{verb}", **query)
            tell(f"Container {one.name}", words[1])
    return 0


def run_kill(args: Namespace) -> int:
    """Send a signal to containers' first processes."""
    return _each(args, "kill", ("Killing", "Killed"), lambda one: one.running, signal=args.signal)


def run_pause(args: Namespace) -> int:
    """Freeze all processes of containers."""
    return _each(args, "pause", ("Pausing", "Paused"), lambda one: one.state == "running")


def run_unpause(args: Namespace) -> int:
    """Let the processes of frozen containers go on."""
    return _each(args, "unpause", ("Unpausing", "Unpaused"), lambda one: one.state == "paused")


def run_rm(args: Namespace) -> int:
    """Remove containers that are stopped."""
    client, tell = daemon.client(), shared.tell(args)
    project = shared.found(args, client, args.services)
    if args.stop:
        there = observed.containers(client, project.name)
        chosen = {name: there.get(name, []) for name in args.services or there}
        starting.stop(client, project, chosen, tell)
    there = observed.containers(client, project.name)
    stopped = [one for one in shared.chosen(project, there, args.services) if not one.running]
    if not stopped:
        print("No stopped containers", file=sys.stderr)
        return 0
    names = ", ".join(one.name for one in stopped)
    tell.leave()
    if not args.force and not looking.sure(f"This will remove {names}."):
        return 0
    for one in stopped:
        starting.remove_one(client, one, tell, volumes=args.volumes)
    return 0
