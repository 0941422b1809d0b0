"""What an image says of how to run it, where the user said nothing: Docker's rules."""

from __future__ import annotations

from labcontainer import errors
from labcontainer.engine import request, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def fill_in(asked: request.Request, config: Mapping[str, Any]) -> request.Request:
    """The request with the image's Env, Cmd, Entrypoint, WorkingDir, User, Volumes, StopSignal.

    Raises:
        LabError: neither the user nor the image says what to run.
    """
    program, command = arguments(asked, config)
    targets = {volume.target for volume in asked.volumes} | {one.target for one in asked.tmpfs}
    fresh = [request.Volume("", path) for path in sorted(config.get("Volumes") or {})
             if path.rstrip("/") not in targets]  # fmt: skip
    return asked.replace(
        entrypoint=program,
        command=command,
        env=environment(config.get("Env") or (), asked.env),
        workdir=asked.workdir or config.get("WorkingDir") or "",
        user=asked.user or config.get("User") or "",
        volumes=(*asked.volumes, *fresh),
        stop_signal=asked.stop_signal or words.stop_signal(str(config.get("StopSignal") or "")),
    )


def arguments(asked: request.Request, config: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The program and its words. An `--entrypoint` takes the image's Cmd away, too."""
    if asked.entrypoint:
        found = [asked.entrypoint, *asked.command]
    else:
        entrypoint = [] if asked.entrypoint == "" else config.get("Entrypoint") or []
        found = [*entrypoint, *(asked.command or config.get("Cmd") or ())]
    if not found:
        raise errors.LabError("no command specified: neither here nor by the image")
    return found[0], tuple(found[1:])


def environment(image: list[str] | tuple[str, ...], own: tuple[str, ...]) -> tuple[str, ...]:
    """The image's variables, then the user's; of two by one name the later counts."""
    found = dict(line.partition("=")[::2] for line in (*image, *own))
    return tuple(f"{name}={value}" for name, value in found.items())
