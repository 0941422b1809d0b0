"""Where a project's files and variables come from: the command line, COMPOSE_* and `.env`.

| what | first of |
|---|---|
| files | `-f`, COMPOSE_FILE, compose.yaml, compose.yml, docker-compose.yml here or above |
| directory | `--project-directory`, that of the first file |
| variables | the caller's environment; `--env-file`, COMPOSE_ENV_FILES or `.env` |
| name | `-p`, COMPOSE_PROJECT_NAME, `name:` of the last file that has it, the directory's name |
| profiles | `--profile`, COMPOSE_PROFILES |
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from labcontainer import errors
from labcontainer.compose import environment

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDES = (
    *("compose.override.yaml", "compose.override.yml"),
    *("docker-compose.override.yml", "docker-compose.override.yaml"),
)
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True)
class Asked:
    """What the command line said; `caller` is its environment."""

    files: tuple[str, ...] = ()
    directory: str = ""
    name: str = ""
    profiles: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    caller: Mapping[str, str] = field(default_factory=dict)
    text: str = ""  # of a file `-`: standard input


@dataclass(frozen=True)
class Sources:
    """Files, absolute; the project's directory; all variables."""

    files: tuple[str, ...]
    directory: str
    values: Mapping[str, str]
    env_files: tuple[str, ...]
    profiles: tuple[str, ...]


def find(asked: Asked, cwd: str) -> Sources:
    """The files and variables of a project.

    Raises:
        NotFoundError: there is no file.
        UsageError: an env file can't be read.
    """
    start = os.path.join(cwd, asked.directory) if asked.directory else cwd
    values, env_files = _variables(asked, start)
    files = asked.files or tuple(_split(values.get("COMPOSE_FILE", ""), values))
    found = tuple(one if one == "-" else os.path.join(cwd, one) for one in files)
    found = found or _search(start)
    for one in found:
        if one != "-" and not os.path.isfile(one):
            raise errors.NotFoundError(f"{one}: there is no such Compose file")
    directory = asked.directory and os.path.abspath(start)
    if not directory:
        directory = cwd if found[0] == "-" else os.path.dirname(os.path.abspath(found[0]))
        if directory != os.path.abspath(start) and not env_files:
            values, env_files = _variables(asked, directory)  # the .env beside the file
    profiles = asked.profiles or tuple(filter(None, values.get("COMPOSE_PROFILES", "").split(",")))
    return Sources(
        tuple(one if one == "-" else os.path.abspath(one) for one in found),
        directory, values, env_files, tuple(word.strip() for word in profiles),
    )  # fmt: skip


def _split(text: str, values: Mapping[str, str]) -> list[str]:
    separator = values.get("COMPOSE_PATH_SEPARATOR") or os.pathsep
    return [one for one in text.split(separator) if one]


def _variables(asked: Asked, directory: str) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """(all variables, the files that they are of)"""
    listed = asked.caller.get("COMPOSE_ENV_FILES", "")
    files = asked.env_files or tuple(filter(None, listed.split(",")))
    if not files and not environment.truth(asked.caller, "COMPOSE_DISABLE_ENV_FILE"):
        usual = os.path.join(directory, ".env")
        files = (usual,) if os.path.isfile(usual) else ()
    found: dict[str, str] = {}
    for one in files:
        found |= environment.read(one, {**found, **asked.caller})
    return {**found, **asked.caller}, tuple(map(os.path.abspath, files))


def _search(start: str) -> tuple[str, ...]:
    """The usual file here or in a directory above, and its override."""
    folder = os.path.abspath(start)
    while True:
        for name in NAMES:
            if os.path.isfile(f"{folder}/{name}"):
                over = [f"{folder}/{one}" for one in OVERRIDES if os.path.isfile(f"{folder}/{one}")]
                return (f"{folder}/{name}", *over[:1])
        if folder == "/":
            raise errors.NotFoundError("no configuration file provided: not found")
        folder = os.path.dirname(folder)


def project_name(asked: Asked, sources: Sources, from_files: str) -> str:
    """The project's name.

    Raises:
        UsageError: it has letters that names of containers can't have.
    """
    given = asked.name or sources.values.get("COMPOSE_PROJECT_NAME", "") or from_files
    if given:
        if not _NAME.fullmatch(given):
            raise errors.UsageError(
                f"invalid project name {given!r}: must consist only of lowercase alphanumeric "
                "characters, hyphens, and underscores as well as start with a letter or number"
            )
        return given
    found = re.sub(r"[^a-z0-9_-]", "", os.path.basename(sources.directory).lower()).lstrip("_-")
    if not found:
        raise errors.UsageError("project name must not be empty: give one with --project-name")
    return found
