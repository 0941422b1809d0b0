"""`labcontainer build [FLAG …] DIRECTORY|URL|-`: an image from a Dockerfile.

The flags are those of `docker build`. No daemon is asked: the build runs in this process, as an
ordinary user in a user namespace.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack
from types import SimpleNamespace

from labcontainer import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable
    from typing import Any

    from labcontainer.build.context import Context
    from labcontainer.build.options import Options, Secret
    from labcontainer.image.store import Image, Store

PROGRESS = ("auto", "plain", "tty", "quiet")


# (names, kind, word for its value, help); the kinds are switch, text (the last counts) and list.
FLAGS = (
    ("-t --tag", "list", "NAME", "a name for the image"),
    ("-f --file", "text", "FILE", "the Dockerfile; - reads it from standard input"),
    ("--build-arg", "list", "NAME[=VALUE]", "set an ARG"),
    ("--target", "text", "STAGE", "build up to this stage"),
    ("--secret", "list", "id=ID[,src=FILE|,env=NAME]", "what RUN --mount=type=secret shows"),
    ("--label", "list", "NAME=VALUE", "a label of the image"),
    ("--iidfile", "text", "FILE", "write the image's id there"),
    ("--network", "text", "MODE", "of RUN: default, none or host"),
    ("--add-host", "list", "NAME:IP", "a line for /etc/hosts"),
    ("--platform", "text", "OS/ARCH", "of the base images and the result"),
    ("--pull", "switch", "", "ask the registry for a newer base image"),
    ("--no-cache", "switch", "", "build every step anew"),
    ("--no-cache-filter", "list", "STAGE", "build these stages anew"),
    ("--cache-from", "list", "IMAGE", "an image that carries the keys of its steps"),
    ("--squash", "switch", "", "one layer on top of the base"),
    ("-o --output", "text", "type=TYPE,dest=PATH", "local, tar, oci or docker; a path is local"),
    ("--progress", "text", "KIND", f"how the build is shown: {', '.join(PROGRESS)}"),
    ("-q --quiet", "switch", "", "print the image's id alone"),
    ("--compress", "switch", "", "taken for Docker's sake, as the next three"),
    ("--disable-content-trust", "switch", "", ""),
    ("--force-rm", "switch", "", ""),
    ("--rm", "switch", "", ""),
)
_KINDS = {name: (names.split()[-1], kind) for names, kind, _, _ in FLAGS for name in names.split()}
_EMPTY = {"list": [], "text": "", "switch": False}


def configure(parser: ArgumentParser) -> None:
    """Add the words of `labcontainer build`, for its help."""
    for names, kind, meta, text in FLAGS:
        if kind == "switch":
            parser.add_argument(*names.split(), action="store_true", help=text)
        else:
            parser.add_argument(*names.split(), metavar=meta, help=text)
    parser.add_argument(
        "context", metavar="DIRECTORY|URL|-", help="the files; - reads a tar or a Dockerfile"
    )


def parse(words: list[str]) -> SimpleNamespace | None:
    """The flags and the context, without argparse, which costs a fifth of a cached build.

    None when help is asked for.

    Raises:
        UsageError: an unknown flag, a missing or bad value, not one context.
    """
    found = {name[2:].replace("-", "_"): _copied(_EMPTY[kind]) for name, kind in _KINDS.values()}
    contexts: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in ("--help", "-h"):
            return None
        if word == "-" or not word.startswith("-"):
            contexts.append(word)
        else:
            _take(found, word, rest)
    if len(contexts) != 1:
        raise errors.UsageError("build needs one context; see labcontainer build --help")
    if (found["progress"] or "auto") not in PROGRESS:
        known = ", ".join(PROGRESS)
        raise errors.UsageError(f"invalid value {found['progress']!r} for --progress: {known}")
    return SimpleNamespace(context=contexts[0], **found)


def _copied(value: object) -> object:
    return list(value) if isinstance(value, list) else value


def _take(found: dict[str, Any], word: str, rest: list[str]) -> None:
    """One flag with its value: `--tag=x`, `--tag x`, `-t x`, `-tx`."""
    name, equals, value = word.partition("=")
    if not word.startswith("--") and len(word) > 2:
        name, equals, value = word[:2], "=", word[2:].removeprefix("=")
    if name not in _KINDS:
        raise errors.UsageError(f"unknown flag {name}; see labcontainer build --help")
    long, kind = _KINDS[name]
    key = long[2:].replace("-", "_")
    if kind == "switch":
        if equals and value not in ("true", "false"):
            raise errors.UsageError(f"invalid value {value!r} for {name}: true or false")
        found[key] = value != "false"
        return
    if not equals and not rest:
        raise errors.UsageError(f"flag {name} needs a value")
    value = value if equals else rest.pop(0)
    if kind == "list":
        found[key].append(value)
    else:
        found[key] = value


def run(args: SimpleNamespace) -> int:
    """Build, and print the image's id."""
    from labcontainer.build import builder
    from labcontainer.engine import buildsteps
    from labcontainer.image import roots
    from labcontainer.image.store import Store

    signal.signal(signal.SIGTERM, _terminated)
    options = options_of(args)
    store = Store()  # of this user, before it becomes root of a namespace
    roots.make(store.path)
    with ExitStack() as stack:
        context = _context(args, store, stack)
        if os.geteuid() != 0:
            builder.make_bases(context, options, store)
        buildsteps.enter()
        show, end = _shown(args)
        try:
            image = builder.build(context, options, store, buildsteps.Containers(store), show)
        finally:
            end()
        _hand_out(args, image, store)
    return 0


def _terminated(_number: int, _frame: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _hand_out(args: SimpleNamespace, image: Image, store: Store) -> None:
    """Where the image is wanted beside the store."""
    if args.iidfile:
        with open(args.iidfile, "w") as file:
            file.write(image.id)
    if args.output:
        from labcontainer.build import output

        output.write(args.output, image, store)
        if output.parse(args.output)[1] == "-":
            return  # standard output has the files
    print(image.id)


def _shown(args: SimpleNamespace) -> tuple[Callable[..., None], Callable[[], None]]:
    """What is told of the progress, and how that ends."""
    from labcontainer.build import progress

    kind = "quiet" if args.quiet else args.progress or "auto"
    if kind == "auto":
        kind = "tty" if sys.stderr.isatty() else "plain"
    if kind == "quiet":
        return progress.silent, lambda: None
    if kind == "plain":
        return progress.Plain(lambda text: print(text, end="", file=sys.stderr)), sys.stderr.flush
    from labcontainer.build.terminal import Steps

    steps = Steps(sys.stderr)
    return steps, steps.close


def _folder(store: Store, stack: ExitStack) -> str:
    """A directory for a context that comes in one piece; gone at the end."""
    from labcontainer.build import scratch

    return stack.enter_context(scratch.folder(store))


def _context(args: SimpleNamespace, store: Store, stack: ExitStack) -> Context:
    from labcontainer.build import context

    word, file = args.context, args.file
    if word == "-" and file == "-":
        raise errors.UsageError("can't read both the context and the Dockerfile from stdin")
    if word == "-":
        return context.of_stream(sys.stdin.buffer, _folder(store, stack), file)
    if word.startswith(("http://", "https://", "git@", "git://", "ssh://")):
        return context.of_url(word, _folder(store, stack), file)
    text = sys.stdin.buffer.read() if file == "-" else None
    memory = f"{store.path}/digests"
    return context.of_directory(word, "" if file == "-" else file, text, memory)


# --- what the flags mean --------------------------------------------------------------------------


def options_of(args: SimpleNamespace) -> Options:
    """The options of a build from the command's words.

    Raises:
        UsageError: a word is off.
    """
    from labcontainer.build.options import Options
    from labcontainer.image import documents, reference

    for name in args.tag:
        reference.parse(name)
    network = args.network or "default"
    if network not in ("default", "none", "host"):
        raise errors.UsageError(f"--network {network}: it is default, none or host")
    arguments = pairs("--build-arg", args.build_arg, from_environment=True)
    return Options(
        names=tuple(args.tag), target=args.target, arguments=arguments,
        labels=pairs("--label", args.label), secrets=dict(map(secret, args.secret)),
        network=network, hosts=_hosts(args.add_host),
        platform=documents.parse_platform(args.platform) if args.platform else None,
        pull=args.pull, cache=not args.no_cache, fresh_stages=tuple(args.no_cache_filter),
        cache_from=tuple(args.cache_from), squash=args.squash, newest=_epoch(arguments),
    )  # fmt: skip


def _hosts(words: list[str]) -> tuple[tuple[str, str], ...]:
    if not words:
        return ()
    from labcontainer.engine.words import host_line

    return tuple(map(host_line, words))


def pairs(flag: str, words: list[str], *, from_environment: bool = False) -> dict[str, str]:
    """`NAME=VALUE` words; a NAME alone takes the caller's variable, and is left out without one."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name:
            raise errors.UsageError(f"invalid value {word!r} for {flag}: it is NAME=VALUE")
        if equals or not from_environment:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
    return found


def secret(word: str) -> tuple[str, Secret]:
    """`id=ID[,src=FILE]`, `id=ID,env=NAME`."""
    from labcontainer.build.options import Secret

    fields = dict(part.partition("=")[::2] for part in word.split(","))
    name = fields.pop("id", "")
    path = fields.pop("src", fields.pop("source", ""))
    env = fields.pop("env", "")
    fields.pop("type", "")
    if not name or fields:
        raise errors.UsageError(f"invalid value {word!r} for --secret: it is id=ID[,src=FILE]")
    if not path and not env:
        path, env = ("", name) if name in os.environ else (name, "")
    return name, Secret(os.path.abspath(path) if path else "", env)


def _epoch(arguments: dict[str, str]) -> int | None:
    text = arguments.get("SOURCE_DATE_EPOCH", os.environ.get("SOURCE_DATE_EPOCH", ""))
    if not text:
        return None
    if not text.isdecimal():
        raise errors.UsageError(f"SOURCE_DATE_EPOCH {text!r} is no number of seconds")
    return int(text)
