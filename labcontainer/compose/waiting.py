"""Conditions of `depends_on` and `up --wait`: when they are met, and when they never will be.

| condition | met | never |
|---|---|---|
| service_started | at once: the order of starting sees to it | |
| service_healthy | all containers are healthy | one ends, is unhealthy, or has no health check |
| service_completed_successfully | all have ended with 0 | one has ended with another status |
| running_or_healthy | healthy, or running without a health check | one ends or is unhealthy |
"""

from __future__ import annotations

from typing import Any

from labcontainer import errors
from labcontainer.client.api import Client
from labcontainer.compose import model, observed
from labcontainer.compose.happenings import Happenings
from labcontainer.compose.model import Project
from labcontainer.compose.observed import Container

RUNNING_OR_HEALTHY = "running_or_healthy"


class ConditionError(errors.LabError):
    """What was waited for will not happen."""


def met(condition: str, service: str, name: str, state: dict[str, Any] | None) -> bool:
    """Whether a container's state meets a condition already.

    Raises:
        ConditionError: it never will.
    """
    if state is None:
        raise ConditionError(f"container {name} is gone")
    ended = state["Status"] in ("exited", "dead")
    if condition == model.COMPLETED:
        if ended and state["ExitCode"]:
            why = f"service {service!r} didn't complete successfully: exit {state['ExitCode']}"
            raise ConditionError(why)
        return ended
    if condition == model.STARTED:
        return bool(state["Running"]) or ended
    if ended:
        raise ConditionError(f"container {name} exited ({state['ExitCode']})")
    health = (state.get("Health") or {}).get("Status", "none")
    if health in ("", "none"):
        if condition == model.HEALTHY and state["Running"]:
            raise ConditionError(f"container {name} has no healthcheck configured")
        return bool(state["Running"])
    if health == "unhealthy":
        raise ConditionError(f"container {name} is unhealthy")
    return bool(health == "healthy")


def until(
    client: Client, happenings: Happenings, condition: str, service: str,
    containers: list[Container], seconds: float | None = None,
) -> None:  # fmt: skip
    """Wait until all containers of a service meet a condition.

    Raises:
        ConditionError: one never will.
        WaitTimeoutError, InterruptedWaitError: it took too long, or was given up.
    """

    def look() -> bool | None:
        states = {one.name: observed.state(client, one.id) for one in containers}
        return all([met(condition, service, name, one) for name, one in states.items()]) or None

    happenings.wait(look, {one.id for one in containers}, seconds)


def wanted(project: Project, name: str) -> str:
    """What `up --wait` waits for: the end of a service whose end another one waits for."""
    others = (one for service in project.services.values() for one in service.depends_on)
    if any(one.service == name and one.condition == model.COMPLETED for one in others):
        return model.COMPLETED
    return RUNNING_OR_HEALTHY
