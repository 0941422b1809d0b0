"""A project: services, networks, volumes, secrets and configs, as all files together say.

A service keeps all its words in their long form (`words`, what `config` prints); what the order and
the scale need has a field of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from labcontainer import errors
from labcontainer.compose.scalars import Tree

STARTED = "service_started"
HEALTHY = "service_healthy"
COMPLETED = "service_completed_successfully"


@dataclass(frozen=True)
class Dependency:
    """What must be so with another service before this one starts.

    `required`: its absence or failure is an error; `restart`: this service is restarted when the
    other one is made anew.
    """

    service: str
    condition: str = STARTED
    required: bool = True
    restart: bool = False


@dataclass(frozen=True)
class Service:
    """One service; `scale` is how many containers it has."""

    name: str
    words: Tree = field(repr=False)
    image: str = ""
    scale: int = 1
    depends_on: tuple[Dependency, ...] = ()

    @property
    def profiles(self) -> tuple[str, ...]:
        """The profiles that it belongs to; with none it is always enabled."""
        return tuple(self.words.get("profiles", ()))

    @property
    def build(self) -> Tree | None:
        """How its image is built, if it is."""
        found: Tree | None = self.words.get("build")
        return found

    @property
    def watch(self) -> list[Tree]:
        """What `develop.watch` says."""
        return list((self.words.get("develop") or {}).get("watch") or ())

    def get(self, key: str, default: Any = None) -> Any:
        """One of its words."""
        return self.words.get(key, default)


@dataclass(frozen=True)
class Shared:
    """A network, volume, secret or config: its key in the file and its name at the daemon."""

    key: str
    name: str
    words: Tree = field(default_factory=dict)

    @property
    def external(self) -> bool:
        """Whether it is somebody else's: never made and never removed."""
        return bool(self.words.get("external"))


@dataclass(frozen=True)
class Project:
    """All of it. `services` are those that are enabled, `disabled` those of other profiles."""

    name: str
    directory: str
    files: tuple[str, ...] = ()
    services: Mapping[str, Service] = field(default_factory=dict)
    networks: Mapping[str, Shared] = field(default_factory=dict)
    volumes: Mapping[str, Shared] = field(default_factory=dict)
    secrets: Mapping[str, Shared] = field(default_factory=dict)
    configs: Mapping[str, Shared] = field(default_factory=dict)
    disabled: Mapping[str, Service] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    env_files: tuple[str, ...] = ()
    extensions: Tree = field(default_factory=dict)
    parallel: int = 0  # services that are worked at at the same time; 0 is all

    @property
    def parallel_within(self) -> int:
        """The same for the containers of one service: with a limit, one after another."""
        return 1 if self.parallel else 0

    def service(self, name: str) -> Service:
        """An enabled service.

        Raises:
            NotFoundError: there is none of that name.
        """
        if name not in self.services:
            raise errors.NotFoundError(f"no such service: {name}")
        return self.services[name]

    def enabled(self, profiles: Iterable[str], names: Iterable[str] = ()) -> Project:
        """The project with the services of these profiles, and those that are named.

        Raises:
            NotFoundError: a name is no service's.
            UsageError: a service needs one that is not enabled.
        """
        every = {**self.services, **self.disabled}
        on = switched_on({name: one.profiles for name, one in every.items()}, profiles, names)
        for name in sorted(on):
            for one in every[name].depends_on:
                if one.required and one.service not in on:
                    known = ", ".join(every[one.service].profiles)
                    raise errors.UsageError(
                        f"service {one.service} is required by {name} but is disabled. "
                        f"Can be enabled by profiles [{known}]"
                    )
        return self._split(every, on)

    def only(self, names: Iterable[str], *, dependencies: bool = True) -> Project:
        """The project with these services alone, and what they depend on.

        Raises:
            NotFoundError: a name is no service's.
        """
        wanted: set[str] = set()
        rest = list(names)
        while rest:
            name = rest.pop()
            if name in wanted:
                continue
            service = self.service(name)
            wanted.add(name)
            if dependencies:
                rest += [one.service for one in service.depends_on if one.service in self.services]
        return self._split({**self.services, **self.disabled}, wanted)

    def _split(self, every: Mapping[str, Service], on: set[str]) -> Project:
        return dataclasses.replace(
            self,
            services={name: one for name, one in every.items() if name in on},
            disabled={name: one for name, one in every.items() if name not in on},
        )

    def scaled(self, numbers: Mapping[str, int]) -> Project:
        """The project with other numbers of containers.

        Raises:
            NotFoundError, UsageError: no such service; it has a name of its own and is one.
        """
        services = dict(self.services)
        for name, number in numbers.items():
            service = self.service(name)
            services[name] = dataclasses.replace(service, scale=number)
            check_scale(services[name])
        return dataclasses.replace(self, services=services)

    def replaced(self, service: Service) -> Project:
        """The project with another service of that name."""
        return dataclasses.replace(self, services={**self.services, service.name: service})


def switched_on(
    known: Mapping[str, Iterable[str]], profiles: Iterable[str], names: Iterable[str] = ()
) -> set[str]:
    """The services that are enabled, of all with their profiles; who is named brings its along.

    Raises:
        NotFoundError: a name is no service's.
    """
    wanted = set(names)
    for name in sorted(wanted - known.keys()):
        raise errors.NotFoundError(f"no such service: {name}")
    chosen = {profile for name in wanted for profile in known[name]} | set(profiles)
    return wanted | {
        name
        for name, own in known.items()
        if not list(own) or "*" in chosen or not chosen.isdisjoint(own)
    }


def check_scale(service: Service) -> None:
    """Refuse several containers of one name.

    Raises:
        UsageError: it has a container_name and a scale above one.
    """
    name = service.get("container_name")
    if name and service.scale > 1:
        raise errors.UsageError(
            f"the service {service.name!r} has the container name {name!r}: containers need names "
            "of their own; remove it to scale the service"
        )
