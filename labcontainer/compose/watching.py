"""`develop.watch`: what to do when files change.

| action | does |
|---|---|
| sync | copies the files into the service's containers, and removes there what is gone here |
| sync+restart, sync+exec | that, then restarts the container, or runs a command in it |
| restart | restarts the container |
| rebuild | builds the image anew, and the container from it |

Source: Compose Specification, "Develop".
"""

from __future__ import annotations

import io
import os
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from labcontainer import errors
from labcontainer.build import ignore
from labcontainer.client.api import Client
from labcontainer.compose import converge, observed, starting, up
from labcontainer.compose.happenings import Happenings
from labcontainer.compose.model import Project, Service
from labcontainer.compose.notify import Notify
from labcontainer.compose.resources import Tell
from labcontainer.compose.scalars import Tree

_USUALLY_LEFT_OUT = ("**/.git", "**/*.swp", "**/*~", "**/.DS_Store", "**/#*#")


@dataclass(frozen=True)
class Rule:
    """One entry of a service's `develop.watch`."""

    service: str
    path: str
    action: str
    target: str
    words: Tree
    left_out: ignore.Ignore
    taken: ignore.Ignore

    def fits(self, path: str) -> bool:
        """Whether a changed file is this rule's business."""
        if path != self.path and not path.startswith(f"{self.path}/"):
            return False
        inside = os.path.relpath(path, self.path)
        if inside == ".":
            return True
        if self.taken.patterns and not self.taken.excludes(inside):
            return False
        return not self.left_out.excludes(inside)

    def place(self, path: str) -> str:
        """Where a file is in the container."""
        inside = os.path.relpath(path, self.path)
        return self.target if inside == "." else os.path.join(self.target, inside)


def rules(service: Service) -> list[Rule]:
    """The rules of a service.

    Raises:
        UsageError: one syncs to nowhere, or rebuilds what has no `build`.
    """
    found = []
    for at, words in enumerate(service.watch):
        where = f"services.{service.name}.develop.watch[{at}]"
        action, target = words["action"], words.get("target", "")
        if action.startswith("sync") and not target:
            raise errors.UsageError(f"{where}: sync needs a target")
        if action == "sync+exec" and not words.get("exec"):
            raise errors.UsageError(f"{where}: sync+exec needs an exec")
        if action == "rebuild" and service.build is None:
            raise errors.UsageError(f"{where}: can't rebuild a service without a build section")
        lines = [*_USUALLY_LEFT_OUT, *words.get("ignore", ())]
        left_out = ignore.parse("\n".join([*lines, *_of_context(service, words["path"])]))
        taken = ignore.parse("\n".join(words.get("include", ())))
        found.append(Rule(service.name, words["path"], action, target, words, left_out, taken))
    return found


def _of_context(service: Service, path: str) -> list[str]:
    """The lines of .dockerignore, where the context itself is watched."""
    if service.build is None or service.build["context"] != path:
        return []
    try:
        with open(f"{path}/.dockerignore", encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


def check(project: Project) -> list[Rule]:
    """All rules of the enabled services.

    Raises:
        UsageError: there are none, or one is wrong.
    """
    found = [rule for service in project.services.values() for rule in rules(service)]
    if not found:
        raise errors.UsageError(
            "none of the selected services is configured for watch, see 'develop.watch'"
        )
    return found


def in_background(client: Client, project: Project, tell: Tell) -> None:
    """Watch in a thread, until the program ends."""
    check(project)
    threading.Thread(target=run, args=(client, project, tell), daemon=True).start()


def run(
    client: Client, project: Project, tell: Tell, begun: Callable[[], None] = lambda: None
) -> None:
    """Watch until Ctrl-C; a failure is told and the next change is waited for.

    `begun` is called when no change can be missed any more.

    Raises:
        UsageError: there is nothing to watch.
    """
    known = check(project)
    notify = Notify({rule.path for rule in known})
    try:
        begun()
        for rule in known:
            if rule.words.get("initial_sync") and rule.action.startswith("sync"):
                sync(client, project, rule, set(_files(rule)), tell)
        while True:
            try:
                handle(client, project, known, notify.changes(), tell)
            except errors.LabError as error:
                tell("Watch", f"Error: {error}")
    except KeyboardInterrupt:
        pass
    finally:
        notify.close()


def _files(rule: Rule) -> Iterator[str]:
    if os.path.isfile(rule.path):
        yield rule.path
    for inside, _, files in os.walk(rule.path):
        yield from (path for name in files if rule.fits(path := os.path.join(inside, name)))


def handle(
    client: Client, project: Project, known: Iterable[Rule], changed: set[str], tell: Tell
) -> None:
    """Do what the rules say of these changes; a rebuild makes a service's other rules needless.

    Raises:
        LabError: something could not be done.
    """
    fitting = [(rule, {path for path in changed if rule.fits(path)}) for rule in known]
    rebuilt = {rule.service for rule, paths in fitting if paths and rule.action == "rebuild"}
    for name in sorted(rebuilt):
        tell(f"Service {name}", "Rebuilding")
        _rebuild(client, project, name, tell)
    for rule, paths in fitting:
        if not paths or rule.service in rebuilt:
            continue
        if rule.action.startswith("sync"):
            sync(client, project, rule, paths, tell)
        for one in _running(client, project, rule.service):
            if rule.action.endswith("restart"):
                client.post(f"/containers/{one.id}/restart")
                tell(f"Container {one.name}", "Restarted")
            elif rule.action == "sync+exec":
                starting.run_hook(client, one, rule.words["exec"])


def _running(client: Client, project: Project, name: str) -> list[observed.Container]:
    return [one for one in observed.containers(client, project.name).get(name, ()) if one.running]


def _rebuild(client: Client, project: Project, name: str, tell: Tell) -> None:
    project = project.only([name])
    asked = up.Asked(build=True, quiet_build=True, ignore_orphans=True)
    with Happenings(client, project.name) as happenings:
        made = up.create(client, project, tell, asked)
        starting.start(client, project, made.there, happenings, tell, made.anew)


def sync(client: Client, project: Project, rule: Rule, paths: set[str], tell: Tell) -> None:
    """Bring files as they are here into the containers of a service.

    Raises:
        ApiError: the daemon refused.
    """
    there = sorted(path for path in paths if os.path.lexists(path))
    gone = sorted(rule.place(path) for path in paths if not os.path.lexists(path))
    for one in _running(client, project, rule.service):
        if there:
            converge.put(client, one.id, "/", archive(rule, there))
        if gone:
            starting.run_hook(client, one, {"command": ["rm", "-rf", "--", *gone], "user": "root"})
        tell(f"Container {one.name}", f"Synced {len(there) + len(gone)} file(s)")


def archive(rule: Rule, paths: list[str]) -> bytes:
    """The files that are there as a tar archive from the root of the container."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in paths:
            try:
                tar.add(path, rule.place(path).lstrip("/"), recursive=False)
            except FileNotFoundError:
                continue  # removed since: that is the next change
    return buffer.getvalue()
