"""One container as the engine remembers it, and what of it Docker's clients are shown.

What was asked is kept in Docker's own words (`config`, `host`: the API's Config and HostConfig), so
that `inspect` gives back what `create` was given.
"""

from __future__ import annotations

import threading

from labcontainer.engine import moments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]

# What a container can be. `restarting` waits for its next start; `dead` could not be removed.
CREATED, RUNNING, PAUSED, RESTARTING = "created", "running", "paused", "restarting"
EXITED, REMOVING, DEAD = "exited", "removing", "dead"


class State:
    """How it stands. Times are RFC 3339; `health` is None without a check."""

    __slots__ = ("error", "exit_code", "finished_at", "health", "oom", "pid", "started_at",
                 "status")  # fmt: skip

    def __init__(self, **fields: Any) -> None:
        self.status: str = fields.get("status", CREATED)
        self.pid: int = fields.get("pid", 0)
        self.exit_code: int = fields.get("exit_code", 0)
        self.error: str = fields.get("error", "")
        self.oom: bool = fields.get("oom", False)
        self.started_at: str = fields.get("started_at", moments.NEVER)
        self.finished_at: str = fields.get("finished_at", moments.NEVER)
        self.health: Document | None = fields.get("health")

    @property
    def running(self) -> bool:
        """Whether it has processes, also stopped ones."""
        return self.status in (RUNNING, PAUSED)

    def as_dict(self) -> Document:
        """All fields."""
        return {name: getattr(self, name) for name in self.__slots__}

    def document(self) -> Document:
        """Docker's `State`."""
        found: Document = {
            "Status": self.status,
            "Running": self.status in (RUNNING, PAUSED, RESTARTING),
            "Paused": self.status == PAUSED,
            "Restarting": self.status == RESTARTING,
            "OOMKilled": self.oom,
            "Dead": self.status == DEAD,
            "Pid": self.pid if self.running else 0,
            "ExitCode": self.exit_code,
            "Error": self.error,
            "StartedAt": self.started_at,
            "FinishedAt": self.finished_at,
        }
        if self.health is not None:
            found["Health"] = self.health
        return found


FIELDS = ("id", "name", "created", "image", "image_id", "program", "args", "config", "host",
          "endpoints", "mounts", "ports", "restart_count", "stopped_by_user", "lowers")  # fmt: skip


class Container:
    """A container. `lock` is held while a verb changes it.

    Attributes:
        image: as it was asked for; `image_id` what it meant then.
        lowers: directories of the unpacked image, the top one first.
        endpoints: network name -> Docker's EndpointSettings; addresses are "" while it is not
            running.
        mounts: Docker's MountPoints, each with what the engine needs beside (see volumes.py).
        ports: published ports while it is running: `80/tcp` -> [{"HostIp", "HostPort"}] .
        home: its own directory: upper, work, root, hosts, hostname, resolv.conf, log.json, ….
    """

    def __init__(self, home: str, **fields: Any) -> None:
        self.home = home
        self.id: str = fields["id"]
        self.name: str = fields["name"]
        self.created: str = fields.get("created") or moments.now()
        self.image: str = fields.get("image", "")
        self.image_id: str = fields.get("image_id", "")
        self.program: str = fields.get("program", "")
        self.args: list[str] = fields.get("args", [])
        self.config: Document = fields.get("config", {})
        self.host: Document = fields.get("host", {})
        self.endpoints: dict[str, Document] = fields.get("endpoints", {})
        self.mounts: list[Document] = fields.get("mounts", [])
        self.ports: dict[str, list[dict[str, str]]] = fields.get("ports", {})
        self.restart_count: int = fields.get("restart_count", 0)
        self.stopped_by_user: bool = fields.get("stopped_by_user", False)
        self.lowers: list[str] = fields.get("lowers", [])
        self.state = State(**fields.get("state", {}))
        self.lock = threading.RLock()
        self.exits: list[int] = []  # the status of each end since this daemon knows it

    def as_dict(self) -> Document:
        """All that is remembered."""
        found = {name: getattr(self, name) for name in FIELDS}
        return {**found, "state": self.state.as_dict()}

    @property
    def ends(self) -> int:
        """How often it has ended since this daemon knows it."""
        return len(self.exits)

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return self.config.get("Labels") or {}

    @property
    def tty(self) -> bool:
        """Whether it has a terminal."""
        return bool(self.config.get("Tty"))

    @property
    def log_path(self) -> str:
        """Its log file."""
        return f"{self.home}/log.json"
