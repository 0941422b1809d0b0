"""Images on their way between registries and here, and what registries say of themselves.

What a transfer tells is Docker's stream of documents, one for each line that its command draws:

    {"status": "Pulling from library/busybox", "id": "latest"}
    {"status": "Downloading", "progressDetail": {"current": 1, "total": 2}, "id": "3a5429144eb9"}
    {"status": "Status: Downloaded newer image for busybox:latest"}

Who asks is told by the request, never looked up here: the daemon is nobody's login.
"""

from __future__ import annotations

import re

from labcontainer import errors
from labcontainer.image import documents, reference, registries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from labcontainer.engine.images import Images
    from labcontainer.image.auth import Credentials
    from labcontainer.image.documents import Platform
    from labcontainer.image.progress import Event
    from labcontainer.image.pull import Pulled
    from labcontainer.image.reference import Reference
    from labcontainer.image.session import RegistryError

    Document = dict[str, Any]
    Tell = Callable[[Document], object]

# localhost:5000: GET /v2/box/manifests/9: MANIFEST_UNKNOWN: manifest 9 is not in box
_REFUSED = re.compile(r"\S+: [A-Z]+ \S+: (?:(?P<code>[A-Z_]+): )?(?P<message>.*)")


def document(event: Event) -> Document:
    """A word of a transfer as Docker's command reads it."""
    found: Document = {"status": event.status}
    if event.id:
        detail = {"current": event.current, "total": event.total} if event.moving else {}
        found |= {"progressDetail": detail, "id": event.id}
    return found


# --- names ----------------------------------------------------------------------------------------


def asked(name: str, tag: str) -> Reference:
    """The reference that `fromImage` or `repo` with a `tag` means, which may be a digest, too.

    Without either, its `tag` is "".

    Raises:
        UsageError: it can be none.
    """
    found = reference.parse(name, default_tag="")
    if not tag:
        return found
    if tag.startswith(("sha256:", "sha512:")):
        return reference.parse(f"{found.name}@{tag}")
    return found.with_tag(tag)


def named(repo: str, tag: str) -> Reference | None:
    """The name that `repo` and `tag` give to a new image; None without a `repo`.

    Raises:
        UsageError: they can be none.
    """
    if not repo:
        return None
    found = asked(repo, tag)
    if found.digest:
        raise errors.UsageError("cannot import digest reference")
    return found.with_tag(found.tag or reference.DEFAULT_TAG)


# --- from a registry ------------------------------------------------------------------------------


def pull(
    images: Images, name: Reference, tell: Tell, *, platform: Platform | None = None,
    who: Credentials | None = None,
) -> None:  # fmt: skip
    """Get an image, or without a tag and digest all of its repository's.

    Raises:
        NotFoundError: the registry has none, or does not show it.
        LabError: the registry can't be reached, or lies.
    """
    if name.tag or name.digest:
        shown = name.familiar
        new = _pull_one(images, name, tell, platform, who)
    else:
        shown = name.familiar_name
        every = [_pull_one(images, name.with_tag(tag), tell, platform, who)
                 for tag in _tags(name, who)]  # fmt: skip
        new = any(every)
    word = "Downloaded newer image" if new else "Image is up to date"
    tell({"status": f"Status: {word} for {shown}"})


def _tags(name: Reference, who: Credentials | None) -> list[str]:
    from labcontainer.image.registry import Registry
    from labcontainer.image.session import RegistryError

    place = registries.places(name.registry)[-1]
    try:
        return Registry(place, who).tags(name.repository)
    except RegistryError as error:
        raise pull_error(error, name) from None


def _pull_one(
    images: Images, name: Reference, tell: Tell, platform: Platform | None,
    who: Credentials | None,
) -> bool:  # fmt: skip
    """Whether the image was new here."""
    from labcontainer.image import hostimage
    from labcontainer.image.session import RegistryError

    try:
        found = _fetched(images, name, tell, platform, who)
    except RegistryError as error:
        if not hostimage.is_built_in(name) or error.status:
            raise pull_error(error, name) from None
        return _make_of_host(images, name, tell)
    tell({"status": f"Digest: {found.digest}"})
    images.tell_transfer("pull", found.image, name)
    return found.new


def _fetched(
    images: Images, name: Reference, tell: Tell, platform: Platform | None,
    who: Credentials | None,
) -> Pulled:  # fmt: skip
    """The pull; nothing is told of it before the registry has shown that it has the image."""
    from labcontainer.image import pull as pulling

    waiting: list[Document] = []

    def told(event: Event) -> None:
        if event.status.startswith("Pulling from "):
            waiting.append({**document(event), "status": f"Pulling from {name.repository}"})
            return
        while waiting:
            tell(waiting.pop())
        tell(document(event))

    found = pulling.pull(images.store, name, platform=platform, tell=told, credentials=who)
    for one in waiting:  # an image without layers
        tell(one)
    return found


def _make_of_host(images: Images, name: Reference, tell: Tell) -> bool:
    """Where no registry is in reach, `busybox` and `host` are made of this machine's own files."""
    from labcontainer.image import hostbase, hostimage

    where = f"{name.registry} cannot be reached"
    tell({"status": f"{where}: making {name.familiar} of this machine's own programs"})
    recipe = hostbase.recipe(name.familiar_name)
    image, _ = hostimage.make(images.store, recipe, name.canonical)
    images.tell_transfer("pull", image, name)
    return True


def pull_error(error: RegistryError, name: Reference) -> errors.LabError:
    """What Docker says where a registry refuses: what is hidden is as good as missing."""
    said = words_of(error)
    if error.status in (401, 403):
        return errors.NotFoundError(
            f"pull access denied for {name.familiar_name}, repository does not exist or may "
            f"require 'docker login': {said}"
        )
    if error.status == 404:
        return errors.NotFoundError(f"manifest for {name.familiar} not found: {said}")
    return errors.LabError(said)


def words_of(error: RegistryError) -> str:
    """What a registry said, as Docker tells it: `manifest unknown: manifest 9 is not in box`."""
    said = str(error).partition("; log in by ")[0]
    match = _REFUSED.fullmatch(said)
    if match is None:
        return said
    if error.status == 401 and not match["code"]:  # of a HEAD, which has no body
        return "unauthorized: authentication required"
    code = (match["code"] or "").lower().replace("_", " ")
    return f"{code}: {match['message']}" if code else said


# --- to a registry --------------------------------------------------------------------------------


def push(images: Images, name: Reference, tell: Tell, *, who: Credentials | None = None) -> None:
    """Send an image, or without a tag all of its repository's that are here.

    Raises:
        NotFoundError: none is here. LabError: the registry refused.
    """
    from labcontainer.image import push as pushing
    from labcontainer.image.session import RegistryError

    tell({"status": f"The push refers to repository [{name.name}]"})
    names = [name] if name.tag or name.digest else _here(images, name)
    for one in names:
        try:
            sent = pushing.push(images.store, one, tell=_without_head(tell), credentials=who)
        except RegistryError as error:
            raise errors.LabError(words_of(error)) from None
        except errors.NotFoundError:
            raise _not_here(one) from None
        aux = {"Tag": one.tag, "Digest": sent.digest, "Size": sent.size}
        tell({"progressDetail": {}, "aux": aux})
        images.tell_transfer("push", images.store.open(sent), one)


def _here(images: Images, name: Reference) -> list[Reference]:
    names = map(reference.parse, images.store.names())
    found = [one for one in names if one.name == name.name and not one.digest]
    if not found:
        raise _not_here(name)
    return found


def _not_here(name: Reference) -> errors.NotFoundError:
    shown = name.familiar_name
    return errors.NotFoundError(f"An image does not exist locally with the tag: {shown}")


def _without_head(tell: Tell) -> Callable[[Event], None]:
    def told(event: Event) -> None:
        if not event.status.startswith("The push refers to "):
            tell(document(event))

    return told


# --- what registries say of themselves ------------------------------------------------------------


def distribution(name: Reference, who: Credentials | None) -> Document:
    """What a registry has under a name: its descriptor, and for which platforms.

    Raises:
        NotFoundError: it has none. LabError: it refused.
    """
    from labcontainer.image.registry import Registry
    from labcontainer.image.session import RegistryError

    registry = Registry(registries.places(name.registry)[-1], who)
    wanted = name.digest or name.tag or reference.DEFAULT_TAG
    try:
        data, top = registry.manifest(name.repository, wanted)
        found = documents.parse_manifest(data, top.media_type)
        if isinstance(found, documents.Index):
            platforms = [one.platform for one in found.manifests if one.platform is not None]
        else:
            platforms = [_platform_of(registry, name, found.config)]
    except RegistryError as error:
        if error.status == 404:
            raise errors.NotFoundError(words_of(error)) from None
        raise errors.LabError(words_of(error)) from None
    return {
        "Descriptor": {"mediaType": top.media_type, "digest": top.digest, "size": top.size},
        "Platforms": [documents.platform_json(one) for one in platforms],
    }


def _platform_of(registry: Any, name: Reference, config: documents.Descriptor) -> Platform:
    if config.size > documents.LARGEST:
        raise errors.SpecError(config.digest, "the configuration is too large")
    _, parts = registry.blob(name.repository, config.digest)
    data = b""
    for part in parts:
        data += part
        if len(data) > config.size:
            raise errors.SpecError(config.digest, "it is longer than was announced")
    if documents.digest_of(data, config.digest.partition(":")[0]) != config.digest:
        raise errors.SpecError(config.digest, "the registry sent something else")
    return documents.parse_config(data).platform


def login(address: str, who: Credentials) -> str:
    """Prove who someone is to a registry; the identity token that it gives, or "".

    Raises:
        DeniedError: it does not believe them. RegistryError: it is none, or can't be reached.
    """
    from labcontainer.image.registry import Registry

    host = address.partition("://")[2] if "://" in address else address
    host = host.partition("/")[0]
    if host in ("", "index.docker.io", "registry-1.docker.io"):
        host = reference.HUB
    registry = Registry(registries.places(host)[-1], who)
    registry.ping()
    return registry.identity_token
