"""`--change` of commit and import: instructions that touch the configuration only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from labcontainer import errors
from labcontainer.build import dockerfile, instructions, state
from labcontainer.build.errors import DockerfileError
from labcontainer.image import documents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ALLOWED = (
    "CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL ONBUILD STOPSIGNAL USER VOLUME WORKDIR".split()
)


def apply(config: Mapping[str, Any], changes: Iterable[str]) -> dict[str, Any]:
    """A configuration with the changes made, in order.

    Raises:
        UsageError: one is no instruction, or one that needs a build.
    """
    found = state.State(documents.host_platform(), config=dict(config))
    for change in changes:
        try:
            _apply(found, change)
        except DockerfileError as error:
            problem = f"invalid value {change!r} for --change: {error.problem}"
            raise errors.UsageError(problem) from None
    return found.config


def _apply(found: state.State, change: str) -> None:
    for line in dockerfile.parse(change).lines:
        if line.keyword not in ALLOWED:
            raise line.wrong(f"{line.keyword} is not a valid change command")
        one = instructions.read(line)
        if line.keyword == "WORKDIR":
            state.set_workdir(found, one)
        else:
            state.SETTERS[line.keyword](found, one)
