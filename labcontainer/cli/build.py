"""`labcontainer build [FLAG …] DIRECTORY|URL|-`: an image from a Dockerfile; `builder`: its cache.

The flags are those of `docker build`. No daemon is asked: the build runs in this process, as an
ordinary user in a user namespace.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack

from labcontainer import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

    from labcontainer.build.context import Context
    from labcontainer.build.options import Options, Secret
    from labcontainer.image.store import Image, Store

PROGRESS = ("auto", "plain", "tty", "quiet")


def configure_build(parser: ArgumentParser) -> None:
    """Add the words of `labcontainer build`."""
    add = parser.add_argument
    add("context", metavar="DIRECTORY|URL|-", help="the files; - reads a tar or a Dockerfile")
    add("-t", "--tag", action="append", default=[], metavar="NAME", help="a name for the image")
    add("-f", "--file", default="", metavar="FILE", help="the Dockerfile; - reads it from stdin")
    add("--build-arg", action="append", default=[], metavar="NAME[=VALUE]", help="set an ARG")
    add("--target", default="", metavar="STAGE", help="build up to this stage")
    add("--secret", action="append", default=[], metavar="id=ID[,src=FILE|,env=NAME]",
        help="what RUN --mount=type=secret shows, and no image keeps")  # fmt: skip
    add("--label", action="append", default=[], metavar="NAME=VALUE", help="a label of the image")
    add("--iidfile", default="", metavar="FILE", help="write the image's id there")
    add("--network", default="default", help="of RUN: default, none or host")
    add("--add-host", action="append", default=[], metavar="NAME:IP", help="a line for /etc/hosts")
    add("--platform", default="", metavar="OS/ARCH", help="of the base images and the result")
    add("--pull", action="store_true", help="ask the registry for a newer base image")
    add("--no-cache", action="store_true", help="build every step anew")
    add("--no-cache-filter", action="append", default=[], metavar="STAGE", help="these stages anew")
    add("--cache-from", action="append", default=[], metavar="IMAGE", help="an image with keys")
    add("--squash", action="store_true", help="one layer on top of the base")
    add("-o", "--output", default="", metavar="type=TYPE,dest=PATH",
        help="local, tar, oci or docker instead of the store; a path alone is local")  # fmt: skip
    add("--progress", default="auto", choices=PROGRESS, help="how the build is shown")
    add("-q", "--quiet", action="store_true", help="print the image's id alone")


def configure_builder(parser: ArgumentParser) -> None:
    """Add the words of `labcontainer builder`."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    prune = verbs.add_parser("prune", allow_abbrev=False, help="forget what builds have remembered")
    prune.add_argument("-a", "--all", action="store_true", help="also what was used today")
    prune.add_argument("-f", "--force", action="store_true", help="do not ask")


def run_builder(args: Namespace) -> int:
    """`labcontainer builder prune`: forget steps, all of them or those of yesterday and before."""
    from labcontainer.build.cache import Cache
    from labcontainer.image.store import Store

    if not args.force and sys.stdin.isatty():
        answer = input("Forget the build cache? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            return 0
    steps, freed = Cache(Store()).prune(0 if args.all else 86400)
    print(f"{steps} steps forgotten, {freed / 1e6:.1f} MB freed")
    return 0


def run_build(args: Namespace) -> int:
    """Build, and print the image's id."""
    from labcontainer.build import builder
    from labcontainer.engine import buildsteps
    from labcontainer.image.store import Store

    options = options_of(args)
    store = Store()  # of this user, before it becomes root of a namespace
    os.makedirs(store.path, mode=0o711, exist_ok=True)
    with ExitStack() as stack:
        context = _context(args, store, stack)
        buildsteps.enter()
        show, end = _shown(args)
        try:
            image = builder.build(context, options, store, buildsteps.Containers(store), show)
        finally:
            end()
        _hand_out(args, image, store)
    return 0


def _hand_out(args: Namespace, image: Image, store: Store) -> None:
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


def _shown(args: Namespace) -> tuple[Callable[..., None], Callable[[], None]]:
    """What is told of the progress, and how that ends."""
    from labcontainer.build import progress

    kind = "quiet" if args.quiet else args.progress
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
    import tempfile

    return stack.enter_context(tempfile.TemporaryDirectory(prefix="ingest-", dir=store.path))


def _context(args: Namespace, store: Store, stack: ExitStack) -> Context:
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


def options_of(args: Namespace) -> Options:
    """The options of a build from the command's words.

    Raises:
        UsageError: a word is off.
    """
    from labcontainer.build.options import Options
    from labcontainer.image import documents, reference

    for name in args.tag:
        reference.parse(name)
    if args.network not in ("default", "none", "host"):
        raise errors.UsageError(f"--network {args.network}: it is default, none or host")
    arguments = pairs("--build-arg", args.build_arg, from_environment=True)
    return Options(
        names=tuple(args.tag), target=args.target, arguments=arguments,
        labels=pairs("--label", args.label), secrets=dict(map(secret, args.secret)),
        network=args.network, hosts=_hosts(args.add_host),
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
