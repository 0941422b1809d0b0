"""The images that services need: built or pulled, as `build` and `pull_policy` say.

| pull_policy | the image is there | it is not |
|---|---|---|
| missing (default), if_not_present | used | pulled, or built where there is a `build` |
| always | pulled | pulled |
| never | used | an error |
| build | built | built |
| daily, weekly, every_12h, refresh | pulled when it is older than that | pulled |
"""

from __future__ import annotations

import time

from labcontainer import errors
from labcontainer.client.api import Client
from labcontainer.compose import building, graph
from labcontainer.compose.model import Project, Service
from labcontainer.compose.resources import Tell
from labcontainer.engine import moments
from labcontainer.image import auth, reference

_AGES = {"daily": 86400.0, "weekly": 7 * 86400.0, "refresh": 86400.0}
_DAYS = {"d": 86400, "w": 7 * 86400}


def ensure(
    client: Client, project: Project, tell: Tell, *, build: bool = False, no_build: bool = False,
    pull: str = "", quiet: bool = False, quiet_pull: bool = False,
) -> None:  # fmt: skip
    """Build and pull what the services need; `pull` overrules their pull_policy.

    `quiet` says nothing of what builds print, `quiet_pull` nothing of pulls.

    Raises:
        LabError: one could be neither built nor pulled.
    """
    to_build, to_pull = {}, {}
    for name, service in project.services.items():
        step = decide(client, service, build=build, no_build=no_build, pull=pull)
        if step == "build":
            to_build[name] = service
        elif step == "pull":
            to_pull[service.image] = service
    pulls = silence if quiet_pull else tell
    pull_all(client, list(to_pull.values()), pulls, project.parallel)
    if to_build:
        building.build_all(client, project, to_build, tell, quiet=quiet)


def silence(_subject: str, _status: str) -> None:
    """Nobody is told."""


def decide(
    client: Client, service: Service, *, build: bool = False, no_build: bool = False,
    pull: str = "",
) -> str:  # fmt: skip
    """What is to be done for a service's image: build, pull, or "" for nothing.

    Raises:
        NotFoundError: it may not be pulled and is not there.
    """
    if service.get("provider"):
        raise errors.UnsupportedError(f"service {service.name}", "it is run by a provider plugin")
    policy = pull if pull and pull != "policy" else service.get("pull_policy", "missing")
    buildable = service.build is not None and not no_build
    if buildable and (build or policy == "build"):
        return "build"
    found = _inspect(client, service.image)
    if policy == "always" and (not buildable or service.get("image")):
        return "build" if buildable else "pull"
    if found is not None:
        return "pull" if not buildable and _is_old(policy, found) else ""
    if buildable:
        return "build"
    if policy == "never":
        raise errors.NotFoundError(f"No such image: {service.image}, and pull_policy is never")
    return "pull"


def _inspect(client: Client, name: str) -> dict[str, object] | None:
    from labcontainer.client.api import ApiError

    try:
        found: dict[str, object] = client.get(f"/images/{name}/json")
    except ApiError as error:
        if error.status != 404:
            raise
        return None
    return found


def _is_old(policy: str, found: dict[str, object]) -> bool:
    """Whether the tag was last set longer ago than the policy allows."""
    if policy not in _AGES and not policy.startswith("every_"):
        return False
    metadata = found.get("Metadata")
    tagged = metadata.get("LastTagTime", "") if isinstance(metadata, dict) else ""
    age = _AGES.get(policy) or _seconds(policy.removeprefix("every_"))
    return not tagged or time.time() - moments.moment(tagged) > age


def _seconds(word: str) -> float:
    if word[-1:] in _DAYS and word[:-1].isdecimal():
        return float(word[:-1]) * _DAYS[word[-1]]
    return moments.seconds(word)


def pull_all(client: Client, services: list[Service], tell: Tell, most: int = 0) -> None:
    """Pull the images of services, `most` at a time; 0 is all.

    Raises:
        LabError: one could not be pulled.
    """
    by_image = {service.image: service for service in services}

    def act(image: str) -> None:
        tell(f"Image {image}", "Pulling")
        pull(client, image, by_image[image].get("platform"))
        tell(f"Image {image}", "Pulled")

    graph.walk({image: set() for image in by_image}, act, most=most)


def pull(client: Client, image: str, platform: str | None = None) -> None:
    """Have the daemon pull one image.

    Raises:
        LabError: it could not.
    """
    asked = reference.parse(image)
    tag = asked.digest or asked.tag or reference.DEFAULT_TAG
    stream = client.stream(
        "POST", "/images/create", headers=login(asked.registry), fromImage=asked.name, tag=tag,
        platform=platform,
    )  # fmt: skip
    for event in stream:
        _check(event)


def push(client: Client, image: str) -> None:
    """Have the daemon push one image.

    Raises:
        LabError: it could not.
    """
    asked = reference.parse(image)
    path = f"/images/{asked.familiar_name}/push"
    for event in client.stream("POST", path, headers=login(asked.registry), tag=asked.tag):
        _check(event)


def _check(event: dict[str, object]) -> None:
    if "error" in event:
        raise errors.LabError(str(event["error"]))


def login(registry: str) -> dict[str, str]:
    """The header that tells the daemon who we are for a registry."""
    import base64
    import json

    found = auth.find(registry)
    words: dict[str, str] = {}
    if found is not None:
        words = {"username": found.user, "password": found.password, "serveraddress": registry}
        if found.identity_token:
            words = {"identitytoken": found.identity_token, "serveraddress": registry}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(words).encode()).decode()}
