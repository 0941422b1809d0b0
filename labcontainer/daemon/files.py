"""A container's files: archive (docker cp), export, changes, commit."""

from __future__ import annotations

import base64

import msgspec

from labcontainer import errors
from labcontainer.daemon import wire
from labcontainer.daemon.call import TAR
from labcontainer.daemon.routing import Route
from labcontainer.engine import committing, copying, view
from labcontainer.image import compression

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.daemon.call import Call
    from labcontainer.engine.container import Container

PATH_STAT = "X-Docker-Container-Path-Stat"


def _path(call: Call) -> str:
    path = call.text("path")
    if not path:
        raise errors.UsageError("bad parameter: path cannot be empty")
    return path


def _told(found: object) -> dict[str, str]:
    return {PATH_STAT: base64.b64encode(msgspec.json.encode(found)).decode()}


def _files(call: Call, container: Container) -> copying.Files:
    def found() -> copying.Files:
        with container.lock, call.engine.volumes.mounted(container.mounts):
            return copying.Files(container)

    return view.patiently(found)


def head(call: Call) -> None:
    """HEAD /containers/{id}/archive."""
    container = call.engine.containers.find(call.words["id"])
    with _files(call, container) as files:
        call.plain("", _told(files.describe(_path(call))))


def get(call: Call) -> None:
    """GET /containers/{id}/archive."""
    container, path = call.engine.containers.find(call.words["id"]), _path(call)
    with _files(call, container) as files:
        about = files.describe(path)
        with call.answer_stream(TAR, _told(about)) as out:
            files.get(path, out)


def put(call: Call) -> None:
    """PUT /containers/{id}/archive."""
    container = call.engine.containers.find(call.words["id"])
    with _files(call, container) as files:
        files.put(
            _path(call),
            compression.Reader(call.stream, foreign=True),
            replace=not call.flag("noOverwriteDirNonDir"),
        )
    call.empty(200)


def export(call: Call) -> None:
    """GET /containers/{id}/export."""
    container = call.engine.containers.find(call.words["id"])
    call.engine.containers.lives.tell(container, "export")
    with call.answer_stream("application/octet-stream") as out:
        copying.export(container, out)


def changes(call: Call) -> None:
    """GET /containers/{id}/changes."""
    container = call.engine.containers.find(call.words["id"])
    call.reply(copying.changes(container))


def commit(call: Call) -> None:
    """POST /commit."""
    container = call.engine.containers.find(call.text("container"))
    asked = committing.Commit(
        repository=call.text("repo"),
        tag=call.text("tag"),
        author=call.text("author"),
        comment=call.text("comment"),
        changes=tuple(line for text in call.texts("changes") for line in text.splitlines()),
        pause=call.flag("pause", True),
    )
    config = call.body(wire.Config).as_dict()
    call.reply({"Id": committing.commit(call.engine, container, asked, config)}, 201)


ROUTES = (
    Route("HEAD", "/containers/{id}/archive", head),
    Route("GET", "/containers/{id}/archive", get),
    Route("PUT", "/containers/{id}/archive", put),
    Route("GET", "/containers/{id}/export", export),
    Route("GET", "/containers/{id}/changes", changes),
    Route("POST", "/commit", commit),
)
