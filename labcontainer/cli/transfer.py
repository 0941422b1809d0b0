"""`pull push login logout save load import`: images from elsewhere, and to there."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, nullcontext

from labcontainer import errors
from labcontainer.cli import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from typing import IO

    from labcontainer.image import auth
    from labcontainer.image.progress import Tell
    from labcontainer.image.reference import Reference

INSECURE = "speak plain HTTP to the registry"


# --- registries -----------------------------------------------------------------------------------


def configure_pull(parser: ArgumentParser) -> None:
    """The words of `labcontainer pull`."""
    parser.add_argument("-a", "--all-tags", action="store_true", help="all tags of the repository")
    parser.add_argument("-q", "--quiet", action="store_true", help="only the name at the end")
    parser.add_argument("--platform", metavar="OS/ARCH", help="of an image for several")
    parser.add_argument("--insecure", action="store_true", help=INSECURE)
    parser.add_argument(
        "--disable-content-trust", action="store_true", help="taken for Docker's sake"
    )
    parser.add_argument("name", metavar="NAME[:TAG|@DIGEST]")


def run_pull(args: Namespace) -> int:
    """Get an image from its registry."""
    from labcontainer.image import reference

    name = reference.parse(args.name, default_tag="")
    if args.all_tags and (name.tag or name.digest):
        raise errors.UsageError("tag can't be used with --all-tags/-a")
    if args.all_tags:
        names = [name.with_tag(tag) for tag in _remote_tags(name, args.insecure)]
    else:
        names = [name if name.digest else name.with_tag(name.tag or reference.DEFAULT_TAG)]
    if not name.tag and not name.digest and not args.all_tags and not args.quiet:
        print(f"Using default tag: {reference.DEFAULT_TAG}")
    for one in names:
        _pull_one(one, args)
    return 0


def _pull_one(name: Reference, args: Namespace) -> None:
    from labcontainer.image import documents, pull

    platform = documents.parse_platform(args.platform) if args.platform else None
    with _progress(args.quiet) as tell:
        found = pull.pull(
            images.store(), name, platform=platform, tell=tell, insecure=args.insecure
        )
    if not args.quiet:
        print(f"Digest: {found.digest}")
        if found.new:
            print(f"Status: Downloaded newer image for {name.familiar}")
        else:
            print(f"Status: Image is up to date for {name.familiar}")
    print(name.canonical)


def _progress(quiet: bool) -> AbstractContextManager[Tell]:
    from labcontainer.image import progress

    return nullcontext(progress.silent) if quiet else progress.shown_on(sys.stdout)


def _remote_tags(name: Reference, insecure: bool) -> list[str]:
    from labcontainer.image import registries, registry

    place = registries.places(name.registry, insecure=insecure)[-1]
    return registry.Registry(place).tags(name.repository)


def configure_push(parser: ArgumentParser) -> None:
    """The words of `labcontainer push`."""
    parser.add_argument("-a", "--all-tags", action="store_true", help="all tags of the repository")
    parser.add_argument("-q", "--quiet", action="store_true", help="only the name at the end")
    parser.add_argument("--insecure", action="store_true", help=INSECURE)
    parser.add_argument(
        "--disable-content-trust", action="store_true", help="taken for Docker's sake"
    )
    parser.add_argument("name", metavar="NAME[:TAG]")


def run_push(args: Namespace) -> int:
    """Send an image to its registry: only what that has not got."""
    from labcontainer.image import push, reference

    where = images.store()
    name = reference.parse(args.name, default_tag="")
    if args.all_tags:
        if name.tag:
            raise errors.UsageError("tag can't be used with --all-tags/-a")
        known = map(reference.parse, where.names())
        names = [one for one in known if one.name == name.name and not one.digest]
        if not names:
            raise errors.NotFoundError(f"no tag of {name.name} is here")
    else:
        names = [name.with_tag(name.tag or reference.DEFAULT_TAG)]
    for one in names:
        with _progress(args.quiet) as tell:
            push.push(where, one, tell=tell, insecure=args.insecure)
        if args.quiet:
            print(one.canonical)
    return 0


def configure_login(parser: ArgumentParser) -> None:
    """The words of `labcontainer login`."""
    parser.add_argument("-u", "--username", default="", metavar="NAME", help="asked for if missing")
    parser.add_argument("-p", "--password", metavar="WORD", help="better by --password-stdin")
    parser.add_argument("--password-stdin", action="store_true", help="read it from standard input")
    parser.add_argument("--insecure", action="store_true", help=INSECURE)
    parser.add_argument("registry", nargs="?", default="docker.io", metavar="REGISTRY")


def run_login(args: Namespace) -> int:
    """Prove who we are to a registry, and keep that where docker keeps it."""
    from labcontainer.image import auth, registries, registry

    if args.password is not None and args.password_stdin:
        raise errors.UsageError("--password and --password-stdin are mutually exclusive")
    who = _who(args)
    place = registries.places(args.registry, insecure=args.insecure)[-1]
    registry.Registry(place, who).ping()
    kept = auth.remember(args.registry, who)
    if args.password is not None:
        print("WARNING! A password on the command line is seen by all. Use --password-stdin.",
              file=sys.stderr)  # fmt: skip
    print(f"Login Succeeded: kept in {kept}")
    return 0


def _who(args: Namespace) -> auth.Credentials:
    from labcontainer.image import auth

    user = args.username
    if args.password_stdin:
        if not user:
            raise errors.UsageError("must provide --username with --password-stdin")
        return auth.Credentials(user, sys.stdin.read().rstrip("\r\n"))
    if not user or args.password is None:
        if not sys.stdin.isatty():
            raise errors.UsageError("cannot ask for a password: standard input is no terminal")
        user = user or input("Username: ")
    if args.password is not None:
        return auth.Credentials(user, args.password)
    import getpass

    return auth.Credentials(user, getpass.getpass("Password: "))


def configure_logout(parser: ArgumentParser) -> None:
    """The words of `labcontainer logout`."""
    parser.add_argument("registry", nargs="?", default="docker.io", metavar="REGISTRY")


def run_logout(args: Namespace) -> int:
    """Forget who we are for a registry."""
    from labcontainer.image import auth

    known = auth.forget(args.registry)
    print(f"Removing login credentials for {args.registry}" if known
          else f"Not logged in to {args.registry}")  # fmt: skip
    return 0


# --- files ----------------------------------------------------------------------------------------


def configure_save(parser: ArgumentParser) -> None:
    """The words of `labcontainer save`."""
    parser.add_argument("-o", "--output", default="", metavar="FILE", help="instead of the output")
    parser.add_argument("--layout", metavar="DIR", help="an OCI layout in a directory instead")
    parser.add_argument("names", nargs="+", metavar="IMAGE")


def run_save(args: Namespace) -> int:
    """Write images into one file, with their names."""
    from labcontainer.image import archive

    where = images.store()
    if args.layout:
        archive.export_layout(where, args.names, args.layout)
        return 0
    if not args.output:
        if sys.stdout.isatty():
            raise errors.UsageError("cowardly refusing to save to a terminal: use -o FILE")
        archive.save(where, args.names, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return 0
    with _whole_file(args.output) as file:
        archive.save(where, args.names, file)
    return 0


@contextmanager
def _whole_file(path: str) -> Iterator[IO[bytes]]:
    """A file that gets its name when all of it is written; only for the user, as docker's is."""
    path = os.path.realpath(path)  # what a link leads to is replaced, not the link
    if os.path.exists(path) and not os.path.isfile(path):
        kind = "a directory" if os.path.isdir(path) else "a device, a pipe or a socket"
        raise errors.UsageError(f"cannot write to {path}: it is {kind}")
    temporary = f"{path}.{os.getpid()}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:
            yield file
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def configure_export(parser: ArgumentParser) -> None:
    """The words of `labcontainer export`."""
    parser.add_argument("-o", "--output", default="", metavar="FILE", help="instead of the output")
    parser.add_argument("container", metavar="CONTAINER", help="name or id")


def run_export(args: Namespace) -> int:
    """Write all files of a container of the daemon's into a tar archive."""
    from labcontainer.client import daemon

    if not args.output and sys.stdout.isatty():
        raise errors.UsageError("cowardly refusing to save to a terminal: use -o FILE")
    response = daemon.client().download(f"/containers/{args.container}/export")
    try:
        with open(args.output, "wb") if args.output else open(1, "wb", closefd=False) as file:
            for data in response:
                file.write(data)
    except BaseException:
        if args.output:
            os.unlink(args.output)  # half an archive is none
        raise
    finally:
        response.close()
    return 0


def configure_load(parser: ArgumentParser) -> None:
    """The words of `labcontainer load`."""
    parser.add_argument(
        "-i", "--input", default="", metavar="FILE", help="a file, or an OCI layout"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="taken for Docker's sake")


def run_load(args: Namespace) -> int:
    """Read images from a file: of docker save, or an OCI layout."""
    from labcontainer.image import archive

    where = images.store()
    if args.input and os.path.isdir(args.input):
        found = archive.import_layout(where, args.input)
    elif args.input:
        with open(args.input, "rb") as file:
            found = archive.load(where, file)
    elif sys.stdin.isatty():
        raise errors.UsageError("requested load from stdin, but stdin is empty: use -i FILE")
    else:
        found = archive.load(where, sys.stdin.buffer)
    for name, image in found:
        print(f"Loaded image: {name}" if name else f"Loaded image ID: {image.id}")
    return 0


def configure_import(parser: ArgumentParser) -> None:
    """The words of `labcontainer import`."""
    parser.add_argument("-c", "--change", action="append", default=[], metavar="INSTRUCTION",
                        help="CMD, ENV, … as in a Dockerfile")  # fmt: skip
    parser.add_argument("-m", "--message", default="", metavar="TEXT", help="said in its history")
    parser.add_argument("--platform", default="", metavar="OS/ARCH", help="what it is for")
    parser.add_argument("file", metavar="FILE|-", help="a tar archive of a root file system")
    parser.add_argument("name", nargs="?", default="", metavar="NAME[:TAG]")


def run_import(args: Namespace) -> int:
    """Make an image of a root file system in a tar archive."""
    from labcontainer.build import changes
    from labcontainer.image import documents, importing, reference

    platform = (
        documents.parse_platform(args.platform) if args.platform else documents.host_platform()
    )
    config = changes.apply({}, args.change)
    names = [reference.parse(args.name)] if args.name else []
    where = images.store()
    if args.file == "-":
        image = importing.import_root(
            where, sys.stdin.buffer, config, names, platform, args.message
        )
    else:
        with open(args.file, "rb") as file:
            image = importing.import_root(where, file, config, names, platform, args.message)
    print(image.id)
    return 0
