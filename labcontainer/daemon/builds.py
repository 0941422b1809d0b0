"""Builds: a context that comes as a stream, or from an address; the build cache."""

from __future__ import annotations

import os
import select
import threading
import time
from contextlib import contextmanager

import msgspec

from labcontainer import errors
from labcontainer.build.options import Options
from labcontainer.daemon import wire
from labcontainer.daemon.images import Login, decoded
from labcontainer.daemon.progress import Progress
from labcontainer.daemon.routing import Route
from labcontainer.engine import filters, hostconfig, words
from labcontainer.engine.image_builds import BuildRequest
from labcontainer.image import auth, documents, reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from labcontainer.daemon.call import Call
    from labcontainer.image.auth import Credentials

NETWORKS = {"": "default", "bridge": "default", "default": "default", "none": "none",
            "host": "host"}  # fmt: skip
LIMITS = {"memory": "Memory", "memswap": "MemorySwap", "cpushares": "CpuShares",
          "cpuperiod": "CpuPeriod", "cpuquota": "CpuQuota", "shmsize": "ShmSize"}  # fmt: skip
CACHE_FILTERS = ("until", "unused-for")


def build(call: Call) -> None:
    """POST /build."""
    if call.text("version") == "2":
        raise errors.UsageError(
            "this daemon has no BuildKit: set DOCKER_BUILDKIT=0 for the classic builder"
        )
    asked = _request(call)
    builds = call.engine.images.builds
    with (
        Progress(call) as tell,
        builds.begun(call.text("buildid")) as running,
        watched(call, running.stop),
    ):
        running.run(asked, call.stream, tell)


def _request(call: Call) -> BuildRequest:
    """What is asked, checked before the context is read.

    Raises:
        UsageError: a word is off.
    """
    names = tuple(call.texts("t"))
    for name in names:
        reference.parse(name)
    options = Options(
        names=names, target=call.text("target"), arguments=_pairs(call, "buildargs"),
        labels=_pairs(call, "labels"), network=_network(call.text("networkmode")),
        hosts=tuple(map(words.host_line, call.texts("extrahosts"))),
        platform=documents.parse_platform(call.text("platform")) if call.text("platform") else None,
        pull=call.flag("pull"), cache=not call.flag("nocache"), cache_from=_list(call, "cachefrom"),
        limits=_limits(call), side_by_side=False, login=logins(call),
    )  # fmt: skip
    if call.flag("squash"):
        raise errors.UsageError("squash is only supported with experimental mode")
    if call.text("isolation").lower() not in ("", "default"):
        raise errors.UsageError(f'Unsupported isolation: "{call.text("isolation")}"')
    return BuildRequest(
        options, call.text("dockerfile"), call.text("remote"), call.flag("q"), call.flag("forcerm")
    )


def _limits(call: Call) -> dict[str, Any]:
    """What each RUN is bounded by.

    Raises:
        UsageError: a bound is off.
    """
    asked: dict[str, Any] = {field: call.number(name) for name, field in LIMITS.items()}
    asked |= {"CpusetCpus": call.text("cpusetcpus"), "CpusetMems": call.text("cpusetmems"),
              "CgroupParent": call.text("cgroupparent"), "Ulimits": call.document("ulimits") or [],
              "SecurityOpt": call.texts("securityopt")}  # fmt: skip
    try:
        host = msgspec.convert(asked, wire.HostConfig)
    except msgspec.ValidationError as error:
        raise errors.UsageError(f"bad parameter: {error}") from None
    return hostconfig.of_build(host.as_dict())


def _pairs(call: Call, name: str) -> dict[str, str]:
    found = call.document(name) or {}
    if not isinstance(found, dict) or not all(
        value is None or isinstance(value, str) for value in found.values()
    ):
        raise errors.UsageError(f"error reading {name}: it is no object of texts")
    return {key: value for key, value in found.items() if value is not None}


def _list(call: Call, name: str) -> tuple[str, ...]:
    found: Any = call.document(name) or []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise errors.UsageError(f"error reading {name}: it is no list of texts")
    return tuple(found)


def _network(word: str) -> str:
    if word not in NETWORKS:
        raise errors.UnsupportedError(
            f"a build in the network {word!r}", "a RUN has a network of its own",
            "use default, none or host",
        )  # fmt: skip
    return NETWORKS[word]


def logins(call: Call) -> Callable[[str], Credentials | None]:
    """Who asks which registry, by the header X-Registry-Config.

    Raises:
        UsageError: it is no base64 of JSON.
    """
    header = call.headers.get("X-Registry-Config") or ""
    try:
        found = msgspec.json.decode(decoded(header) or b"{}", type=dict[str, Login])
    except msgspec.DecodeError:
        raise errors.UsageError(
            "invalid X-Registry-Config header: it is no JSON of logins"
        ) from None

    def login(registry: str) -> Credentials | None:
        for name in (auth.key_of(registry), registry, f"https://{registry}", f"http://{registry}"):
            if name in found:
                return found[name].credentials()
        return None

    return login


@contextmanager
def watched(call: Call, gone: Callable[[], object]) -> Iterator[None]:
    """Call `gone` if the client hangs up inside the block, from a thread of its own."""
    done = os.eventfd(0, os.EFD_CLOEXEC)

    def watch() -> None:
        poll = select.poll()
        poll.register(call.fileno(), select.POLLRDHUP)
        poll.register(done, select.POLLIN)
        if done not in dict(poll.poll()):
            gone()

    thread = threading.Thread(target=watch, name="hang-up", daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.eventfd_write(done, 1)
        thread.join()
        os.close(done)


def cancel(call: Call) -> None:
    """POST /build/cancel."""
    if not call.text("id"):
        raise errors.UsageError("build ID not provided")
    call.engine.images.builds.cancel(call.text("id"))
    call.empty(200)


def prune(call: Call) -> None:
    """POST /build/prune."""
    wanted = call.filters()
    filters.check(wanted, CACHE_FILTERS)
    until = {"until": [*wanted.get("until", []), *wanted.get("unused-for", [])]}
    now = time.time()
    end = filters.until(until, now)
    call.reply(call.engine.images.builds.prune(0.0 if end is None else now - end))


ROUTES = (
    Route("POST", "/build", build),
    Route("POST", "/build/cancel", cancel),
    Route("POST", "/build/prune", prune),
)
