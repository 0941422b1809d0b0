"""`compose attach commit cp exec export run`, `build pull push watch`: programs and images."""

from __future__ import annotations

import os
import sys
from argparse import Namespace

from labcontainer import errors
from labcontainer.cli import compose_project as shared
from labcontainer.cli import sessions
from labcontainer.client import daemon
from labcontainer.client.api import Client
from labcontainer.compose import building, images, observed, oneoff, starting, up, waiting
from labcontainer.compose.happenings import Happenings
from labcontainer.compose.model import STARTED, Project, Service
from labcontainer.engine import words as words_of


def _tty(args: Namespace) -> bool:
    """A terminal, unless -T says no or standard input is none."""
    return not args.no_tty and not args.detach and os.isatty(0)


def run_exec(args: Namespace) -> int:
    """Run one more program in a service's container; its exit status."""
    client = daemon.client()
    project = shared.found(args, client, [args.service])
    one = shared.one_of(client, project, args.service, args.index)
    return sessions.run_exec(
        Namespace(
            container=one.id,
            command=args.command,
            interactive=args.interactive,
            tty=_tty(args),
            detach=args.detach,
            detach_keys=None,
            env=args.env,
            env_file=[],
            user=args.user,
            privileged=args.privileged,
            workdir=args.workdir,
        )
    )


def _place(args: Namespace, *, running: bool) -> str:
    """The id of the container that --index names."""
    client = daemon.client()
    project = shared.found(args, client, [args.service])
    return shared.one_of(client, project, args.service, args.index, running=running).id


def run_attach(args: Namespace) -> int:
    """Connect the terminal to a service's container."""
    args.container = _place(args, running=True)
    return sessions.run_attach(args)


def run_commit(args: Namespace) -> int:
    """Make an image of what a service's container has written."""
    from labcontainer.cli import copying

    args.container = _place(args, running=False)
    return copying.run_commit(args)


def run_export(args: Namespace) -> int:
    """Write all files of a service's container into a tar archive."""
    from labcontainer.cli import transfer

    args.container = _place(args, running=False)
    return transfer.run_export(args)


def run_cp(args: Namespace) -> int:
    """Copy from a service's first container, or into all of them."""
    from labcontainer.cli import copying

    source, target = copying.split(args.source), copying.split(args.target)
    if bool(source[0]) == bool(target[0]):
        raise errors.UsageError("one of the two is SERVICE:PATH, the other a path here")
    client = daemon.client()
    name = source[0] or target[0]
    project = shared.found(args, client, [name])
    project.service(name)
    there = observed.containers(client, project.name).get(name, [])
    if args.all:
        there += observed.containers(client, project.name, oneoff=True).get(name, [])
    chosen = [one for one in there if args.index in (0, one.number)]
    if not chosen:
        raise errors.NotFoundError(f"no container found for service {name!r}")
    if source[0]:
        copying.from_container(client, chosen[0].id, source[1], target[1], owners=args.archive)
        return 0
    for one in chosen:
        copying.into_container(client, source[1], one.id, target[1], follow=args.follow_link)
    return 0


# --- run ------------------------------------------------------------------------------------------


def run_run(args: Namespace) -> int:
    """Run one command in a container of its own; its exit status."""
    project, client = shared.load(args, [args.service]), daemon.client()
    tell = shared.tell(args, quiet=args.quiet)
    service = project.service(args.service)
    tty = _tty(args)
    with Happenings(client, project.name) as happenings:
        alone = project.only([args.service], dependencies=not args.no_deps)
        others = {name: one for name, one in alone.services.items() if name != args.service}
        others_project = alone.only(list(others)) if others else None
        if others_project is not None:
            asked = up.Asked(
                ignore_orphans=not args.remove_orphans, remove_orphans=args.remove_orphans,
                quiet_build=args.quiet_build, quiet_pull=args.quiet_pull,
            )  # fmt: skip
            made = up.create(client, others_project, tell, asked)
            starting.start(client, others_project, made.there, happenings, tell, made.anew)
            _wait(client, service, made, happenings)
    single = project.only([args.service], dependencies=False)
    images.ensure(
        client, single, tell, build=args.build, pull=args.pull,
        quiet=args.quiet or args.quiet_build, quiet_pull=args.quiet_pull,
    )  # fmt: skip
    up.ensure_shared(client, single, tell)
    tell.leave()
    identity = oneoff.create(client, project, service, _oneoff(args, tty))
    if args.detach:
        client.post(f"/containers/{identity}/start")
        print(client.get(f"/containers/{identity}/json")["Name"].lstrip("/"))
        return 0
    return sessions.follow(
        client, identity, tty=tty, stdin=args.interactive, keys=None, remove=args.rm
    )


def _wait(client: Client, service: Service, made: up.Made, happenings: Happenings) -> None:
    """Until the service's dependencies are as it needs them."""
    for one in service.depends_on:
        containers = made.there.get(one.service, [])
        if one.condition != STARTED and containers:
            waiting.until(client, happenings, one.condition, one.service, containers)


def _oneoff(args: Namespace, tty: bool) -> oneoff.Asked:
    variables = words_of.environment(args.env, args.env_from_file)
    return oneoff.Asked(
        command=tuple(args.command), entrypoint=args.entrypoint,
        environment=words_of.pairs(variables), labels=words_of.pairs(args.label), name=args.name,
        user=args.user, workdir=args.workdir, volumes=tuple(args.volume),
        publish=tuple(args.publish), cap_add=tuple(args.cap_add), cap_drop=tuple(args.cap_drop),
        service_ports=args.service_ports, use_aliases=args.use_aliases,
        interactive=args.interactive and not args.detach, tty=tty, remove=args.rm,
    )  # fmt: skip


# --- images ---------------------------------------------------------------------------------------


def _of(args: Namespace, *, dependencies: bool) -> Project:
    project = shared.load(args, args.services)
    if args.services:
        project = project.only(args.services, dependencies=dependencies)
    return project


def run_build(args: Namespace) -> int:
    """Build the images of services that have a `build`."""
    project, client = _of(args, dependencies=args.with_dependencies), daemon.client()
    buildable = {name: one for name, one in project.services.items() if one.build is not None}
    if not buildable:
        shared.warn("no service has a `build`: there is nothing to do")
    tell = shared.tell(args, quiet=args.quiet)
    arguments = words_of.pairs(words_of.environment(args.build_arg, []))
    building.build_all(
        client, project, buildable, tell, quiet=args.quiet, no_cache=args.no_cache, pull=args.pull,
        arguments=arguments, memory=words_of.size("--memory", args.memory) if args.memory else 0,
    )  # fmt: skip
    for one in buildable.values() if args.push else ():
        images.push(client, one.image)
    return 0


def run_pull(args: Namespace) -> int:
    """Pull the images of services; those that are only built are left."""
    project, client = _of(args, dependencies=args.include_deps), daemon.client()
    tell = shared.tell(args, quiet=args.quiet)
    wanted = [
        one
        for one in project.services.values()
        if one.get("image") and not (args.ignore_buildable and one.build)
        if args.policy == "always" or not observed.image_id(client, one.image)
    ]
    if not args.ignore_pull_failures:
        images.pull_all(client, wanted, tell, project.parallel)
        return 0
    for one in wanted:
        try:
            images.pull_all(client, [one], tell)
        except errors.LabError as error:
            shared.warn(f"{one.image}: {error}")
    return 0


def run_push(args: Namespace) -> int:
    """Push the images of services that are built and have a name."""
    project, client = _of(args, dependencies=args.include_deps), daemon.client()
    tell = shared.tell(args, quiet=args.quiet)
    for one in project.services.values():
        if one.build is None:
            continue
        if not one.get("image"):
            shared.warn(f"service {one.name} has no image name: it is not pushed")
            continue
        tell(f"Image {one.image}", "Pushing")
        try:
            images.push(client, one.image)
        except errors.LabError as error:
            if not args.ignore_push_failures:
                raise
            shared.warn(f"{one.image}: {error}")
        else:
            tell(f"Image {one.image}", "Pushed")
    return 0


# --- watch ----------------------------------------------------------------------------------------


def run_watch(args: Namespace) -> int:
    """Do what `develop.watch` says when files change, until Ctrl-C."""
    from labcontainer.compose import watching

    project, client, tell = _of(args, dependencies=True), daemon.client(), shared.tell(args)
    watching.check(project)
    if not args.no_up:
        with Happenings(client, project.name) as happenings:
            made = up.create(client, project, tell, up.Asked(build=True, quiet_build=args.quiet))
            starting.start(client, project, made.there, happenings, tell, made.anew)
    elif not observed.containers(client, project.name):
        raise errors.StateError(f"project {project.name} does not run, and --no-up was given")
    tell.beside_output()
    enabled = lambda: print("Watch enabled", file=sys.stderr, flush=True)  # noqa: E731
    watching.run(client, project, tell, enabled)
    return 0
