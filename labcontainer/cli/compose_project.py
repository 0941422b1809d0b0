"""What all verbs of `labcontainer compose` begin with: the project, and who is told of steps."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from argparse import Namespace

from labcontainer import errors
from labcontainer.cli import compose_progress
from labcontainer.client.api import Client
from labcontainer.compose import loading, observed, sources
from labcontainer.compose.model import Project
from labcontainer.compose.observed import Container, Containers


def asked(args: Namespace) -> sources.Asked:
    """What the command line says of files and names."""
    return sources.Asked(
        tuple(args.file), args.project_directory, args.project_name, tuple(args.profile),
        tuple(args.env_file), dict(os.environ),
    )  # fmt: skip


def warn(text: str) -> None:
    """Tell of something that is no error."""
    print(f"Warning: {text}", file=sys.stderr)


def load(args: Namespace, names: list[str] | None = None) -> Project:
    """The project of the files; services that are named are enabled, whatever their profile.

    Raises:
        LabError: there are no files, or they are wrong.
    """
    project = loading.load(asked(args), os.getcwd(), warn, tuple(names or ()))
    return _limited(project, args)


def found(args: Namespace, client: Client, names: list[str] | None = None) -> Project:
    """The project of the files; with --project-name and no files, what the daemon knows of it.

    Raises:
        LabError: there is neither.
    """
    name = args.project_name or os.environ.get("COMPOSE_PROJECT_NAME", "")
    try:
        return load(args, names)
    except errors.NotFoundError:
        if args.file or not name:
            raise
    project = observed.project(client, name)
    for one in names or ():
        project.service(one)
    return _limited(project, args)


def _limited(project: Project, args: Namespace) -> Project:
    """The project with --parallel or COMPOSE_PARALLEL_LIMIT.

    Raises:
        UsageError: it is no number.
    """
    known = {**os.environ, **project.environment}
    word = str(args.parallel or known.get("COMPOSE_PARALLEL_LIMIT", ""))
    if not re.fullmatch(r"(-?\d+)?", word):
        raise errors.UsageError(f"COMPOSE_PARALLEL_LIMIT={word}: it is a number, or -1")
    return dataclasses.replace(project, parallel=max(int(word or 0), 0))


def chosen(project: Project, there: Containers, names: list[str]) -> list[Container]:
    """The containers of the services that are named, or of all.

    Raises:
        NotFoundError: a name is no service's.
    """
    for name in names:
        if name not in there and name not in project.disabled:
            project.service(name)
    known = names or list(there)
    return [one for name in known for one in there.get(name, ())]


def one_of(
    client: Client, project: Project, service: str, index: int, *, running: bool = True
) -> Container:
    """A service's container, the first one or that with this number.

    Raises:
        StateError: there is none, or none that runs.
    """
    project.service(service)
    there = observed.containers(client, project.name)
    for one in there.get(service, ()):
        if (one.running or not running) and index in (0, one.number):
            return one
    which = f" with index {index}" if index else ""
    why = "is not running" if running else "has no container"
    raise errors.StateError(f'service "{service}" {why}{which}')


def tell(args: Namespace, *, quiet: bool = False) -> compose_progress.Steps:
    """Who is told of steps; with --quiet, nobody."""
    steps: compose_progress.Steps = args.tell
    return compose_progress.Quiet(sys.stderr) if quiet else steps


def colours(args: Namespace, *, off: bool = False) -> bool:
    """Whether output has colours: as --ansi or COMPOSE_ANSI says, else on a terminal."""
    word = args.ansi or os.environ.get("COMPOSE_ANSI", "") or "auto"
    return not off and (word == "always" or (word == "auto" and sys.stdout.isatty()))
