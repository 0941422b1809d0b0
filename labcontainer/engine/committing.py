"""`commit`: what a container has written becomes a layer, and a new image of it."""

from __future__ import annotations

from labcontainer.engine import container as states
from labcontainer.engine import copying
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from labcontainer.engine.container import Container
    from labcontainer.engine.engine import Engine

# What of a container's Config is the container's own, and none of its image's.
_OWN = ("Hostname", "Domainname", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin",
        "StdinOnce", "Image", "NetworkDisabled", "StopTimeout", "ArgsEscaped")  # fmt: skip


class Commit(Record):
    """What is asked of a commit; `changes` are lines of a Dockerfile."""

    repository: str = ""
    tag: str = ""
    author: str = ""
    comment: str = ""
    changes: tuple[str, ...] = ()
    pause: bool = True


def commit(engine: Engine, container: Container, asked: Commit, config: dict[str, Any]) -> str:
    """Make the image; its id. `config` has what replaces the container's own words.

    Raises:
        UsageError: a change is no instruction that a commit can take, or the name is none.
    """
    lives = engine.containers.lives
    paused = asked.pause and container.state.status == states.RUNNING
    if paused:
        lives.pause(container)
    try:
        with engine.store.lease():
            layer = copying.layer(container, engine.store)
            given = {key: value for key, value in config.items() if value}
            settled = {**container.config, **given}
            for key in _OWN:
                settled.pop(key, None)
            identity = engine.images.commit(
                layer, container.image_id, settled, repository=asked.repository, tag=asked.tag,
                author=asked.author, comment=asked.comment, changes=asked.changes,
            )  # fmt: skip
    finally:
        if paused:
            lives.unpause(container)
    lives.tell(container, "commit", comment=asked.comment, imageID=identity)
    return identity
