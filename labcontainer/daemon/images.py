"""Images: the list, one of them, names, transfers, archives, registries."""

from __future__ import annotations

import base64

import msgspec

from labcontainer import errors
from labcontainer.daemon.call import TAR
from labcontainer.daemon.progress import Progress
from labcontainer.daemon.routing import Route
from labcontainer.engine import image_archives, image_search, image_transfer
from labcontainer.image import documents, reference
from labcontainer.image.auth import Credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.daemon.call import Call, Stream
    from labcontainer.image.compression import Readable
    from labcontainer.image.documents import Platform

CREATED = 201


class Login(msgspec.Struct):
    """Who asks a registry: a header of the request, or the body of /auth."""

    username: str = ""
    password: str = ""
    auth: str = ""
    serveraddress: str = ""
    identitytoken: str = ""
    registrytoken: str = ""

    def credentials(self) -> Credentials | None:
        """What a registry is shown; None where nothing was given."""
        user, password = self.username, self.password
        if self.auth and not user:
            user, _, password = decoded(self.auth).decode(errors="replace").partition(":")
        if not (user or self.identitytoken or self.registrytoken):
            return None
        return Credentials(user, password, self.identitytoken, self.registrytoken)


def decoded(text: str) -> bytes:
    """Base64 of either alphabet, with its padding or without.

    Raises:
        UsageError: it is none. What it says is a secret, and told to nobody.
    """
    plain = text.rstrip("=").replace("+", "-").replace("/", "_")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise errors.UsageError("invalid registry credentials: they are no base64") from None


def who(call: Call) -> Credentials | None:
    """Who asks, by the header X-Registry-Auth.

    Raises:
        UsageError: it is no base64 of JSON.
    """
    header = call.headers.get("X-Registry-Auth") or ""
    if not header:
        return None
    try:
        found = msgspec.json.decode(decoded(header) or b"{}", type=Login)
    except msgspec.DecodeError:
        raise errors.UsageError(
            "invalid X-Registry-Auth header: it is no JSON of a login"
        ) from None
    return found.credentials()


def _platform(call: Call) -> Platform | None:
    word = call.text("platform")
    return documents.parse_platform(word) if word else None


# --- what is here ---------------------------------------------------------------------------------


def listed(call: Call) -> None:
    """GET /images/json."""
    filters = call.filters()
    if call.version < (1, 41) and call.text("filter"):
        filters.setdefault("reference", []).append(call.text("filter"))
    shared = call.flag("shared-size")
    call.reply(call.engine.images.listed(filters, call.version, shared=shared))


def inspect(call: Call) -> None:
    """GET /images/{name}/json."""
    call.reply(call.engine.images.inspect(call.words["name"], call.version))


def history(call: Call) -> None:
    """GET /images/{name}/history."""
    call.reply(call.engine.images.history(call.words["name"]))


def tag(call: Call) -> None:
    """POST /images/{name}/tag."""
    call.engine.images.tag(call.words["name"], call.text("repo"), call.text("tag"))
    call.empty(CREATED)


def remove(call: Call) -> None:
    """DELETE /images/{name}."""
    call.reply(call.engine.images.remove(call.words["name"], call.flag("force")))


def prune(call: Call) -> None:
    """POST /images/prune."""
    call.reply(call.engine.images.prune(call.filters()))


# --- transfers ------------------------------------------------------------------------------------


def create(call: Call) -> None:
    """POST /images/create: pull with `fromImage`, import with `fromSrc`."""
    if call.text("fromImage"):
        _pull(call)
    elif call.text("fromSrc"):
        _import(call)
    else:
        raise errors.UsageError("bad parameter: neither fromImage nor fromSrc is given")


def _pull(call: Call) -> None:
    name = image_transfer.asked(call.text("fromImage"), call.text("tag"))
    platform, asker = _platform(call), who(call)
    with Progress(call) as tell:
        image_transfer.pull(call.engine.images, name, tell, platform=platform, who=asker)


def _import(call: Call) -> None:
    source, images = call.text("fromSrc"), call.engine.images
    name = image_transfer.named(call.text("repo"), call.text("tag"))
    message, changes, platform = call.text("message"), call.texts("changes"), _platform(call)

    def take(stream: Readable) -> None:
        image = image_archives.import_root(
            images, stream, name, changes=changes, message=message, platform=platform
        )
        tell({"status": image.id})

    with Progress(call) as tell:
        if source == "-":
            take(call.stream)
        else:
            message = message or f"Imported from {source}"
            image_archives.fetched(images, source, tell, take)


def push(call: Call) -> None:
    """POST /images/{name}/push."""
    name, asker = image_transfer.asked(call.words["name"], call.text("tag")), who(call)
    with Progress(call) as tell:
        image_transfer.push(call.engine.images, name, tell, who=asker)


def load(call: Call) -> None:
    """POST /images/load."""
    with Progress(call) as tell:
        image_archives.load(call.engine.images, call.stream, tell)


class _Begun:
    """A file that begins the answer with its first byte: a missing image is an error before it."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.stream: Stream | None = None

    def write(self, data: bytes) -> int:
        if self.stream is None:
            self.stream = self._call.answer_stream(TAR)
        return self.stream.write(data)


def save(call: Call) -> None:
    """GET /images/get?names=, GET /images/{name}/get."""
    names = [call.words["name"]] if call.words else call.texts("names")
    if not names:
        raise errors.UsageError("bad parameter: no names are given")
    out = _Begun(call)
    image_archives.save(call.engine.images, names, out)
    if out.stream is not None:
        out.stream.__exit__(None, None, None)


# --- registries -----------------------------------------------------------------------------------


def search(call: Call) -> None:
    """GET /images/search."""
    found = image_search.search(call.text("term"), call.number("limit"), call.filters(), who(call))
    call.reply(found)


def distribution(call: Call) -> None:
    """GET /distribution/{name}/json."""
    name = reference.parse(call.words["name"])
    call.reply(image_transfer.distribution(name, who(call)))


def login(call: Call) -> None:
    """POST /auth: ask the registry itself."""
    from labcontainer.image.session import DeniedError

    asked = call.body(Login)
    try:
        token = image_transfer.login(asked.serveraddress, asked.credentials() or Credentials())
    except DeniedError as error:
        call.reply({"message": image_transfer.words_of(error)}, error.status)
        return
    call.reply({"IdentityToken": token, "Status": "Login Succeeded"})


ROUTES = (
    Route("GET", "/images/json", listed),
    Route("GET", "/images/search", search),
    Route("GET", "/images/get", save),
    Route("GET", "/images/{name*}/get", save),
    Route("GET", "/images/{name*}/json", inspect),
    Route("GET", "/images/{name*}/history", history),
    Route("POST", "/images/create", create),
    Route("POST", "/images/load", load),
    Route("POST", "/images/prune", prune),
    Route("POST", "/images/{name*}/push", push),
    Route("POST", "/images/{name*}/tag", tag),
    Route("DELETE", "/images/{name*}", remove),
    Route("GET", "/distribution/{name*}/json", distribution),
    Route("POST", "/auth", login),
)
