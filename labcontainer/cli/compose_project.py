"""What all verbs of `labcontainer compose` begin with: the project, and who is told of steps."""

from __future__ import annotations

import os
import sys
import threading
from argparse import Namespace
from collections.abc import Callable

from labcontainer import errors
from labcontainer.client.api import Client
from labcontainer.compose import loading, observed, sources
from labcontainer.compose.model import Project
from labcontainer.compose.observed import Container, Containers

_lock = threading.Lock()


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
    return loading.load(asked(args), os.getcwd(), warn, tuple(names or ()))


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
    return project


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


def one_of(client: Client, project: Project, service: str, index: int) -> Container:
    """A service's running container, the first one or that with this number.

    Raises:
        StateError: there is none.
    """
    project.service(service)
    there = observed.containers(client, project.name)
    for one in there.get(service, ()):
        if one.running and index in (0, one.number):
            return one
    which = f" with index {index}" if index else ""
    raise errors.StateError(f'service "{service}" is not running{which}')


def tell(args: Namespace, *, quiet: bool = False) -> Callable[[str, str], None]:
    """Who is told of steps: a line for each on standard error, or nobody."""
    if quiet or args.progress == "quiet":
        return lambda _subject, _status: None

    def line(subject: str, status: str) -> None:
        with _lock:
            print(f" {subject}  {status}", file=sys.stderr, flush=True)

    return line


def colours(args: Namespace, *, off: bool = False) -> bool:
    """Whether output has colours: as --ansi or COMPOSE_ANSI says, else on a terminal."""
    word = args.ansi or os.environ.get("COMPOSE_ANSI", "") or "auto"
    return not off and (word == "always" or (word == "auto" and sys.stdout.isatty()))
