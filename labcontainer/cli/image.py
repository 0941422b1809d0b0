"""`labcontainer image from-host|ls|rm`: root file systems by name, made without any network."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from labcontainer.image import hostbase


def configure(parser: ArgumentParser) -> None:
    """Add the words of `labcontainer image`."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    make = verbs.add_parser(
        "from-host", allow_abbrev=False, help="make one from this machine's own programs"
    )
    make.add_argument(
        "name", nargs="?", default="host", help="busybox, host (the everyday commands), or your own"
    )
    make.add_argument(
        "--with", dest="programs", nargs="+", action="extend", default=[], metavar="BIN",
        help="programs that it must have, by name or path",
    )  # fmt: skip
    make.add_argument("--python", action="store_true", help="python3 with its standard library")
    make.add_argument("--terminfo", action="store_true", help="descriptions of the usual terminals")
    make.add_argument("--ca-certs", action="store_true", help="the machine's CA certificates")
    make.add_argument("--output", metavar="DIR", help="make it there instead of keeping it by name")
    make.add_argument("--replace", action="store_true", help="replace one of the same name")
    make.add_argument("--plan", action="store_true", help="print each file and its reason; no more")
    verbs.add_parser("ls", allow_abbrev=False, help="list them")
    remove = verbs.add_parser("rm", allow_abbrev=False, help="remove some")
    remove.add_argument("names", nargs="+", metavar="NAME")


def run(args: Namespace) -> int:
    """Carry out the verb."""
    verb = {"from-host": _from_host, "ls": _ls, "rm": _rm}[args.verb]
    return verb(args)


def _from_host(args: Namespace) -> int:
    from labcontainer.image import hostbase, roots

    recipe = hostbase.recipe(
        roots.check_name(args.name),
        tuple(args.programs),
        python=args.python,
        terminfo=args.terminfo,
        certificates=args.ca_certs,
    )
    if args.plan:
        for entry in hostbase.plan(recipe):
            print(entry)
        return 0
    target = args.output or roots.path_of(args.name)
    print(told(hostbase.build(recipe, target, replace=args.replace)))
    return 0


def told(report: hostbase.Report) -> str:
    """One line on what was built."""
    left_out = f"; not on this machine: {' '.join(report.missing)}" if report.missing else ""
    return f"{report.path}: {report.files} files, {report.size / 1e6:.1f} MB{left_out}"


def _ls(_args: Namespace) -> int:
    from labcontainer.image import roots

    print(f"{'NAME':20} {'FILES':>6} {'SIZE':>9}  PATH")
    for name in roots.names():
        path = roots.path_of(name)
        files, size = roots.size(path)
        print(f"{name:20} {files:6} {size / 1e6:6.1f} MB  {path}")
    return 0


def _rm(args: Namespace) -> int:
    from labcontainer import errors
    from labcontainer.engine import leftovers
    from labcontainer.image import roots

    for name in args.names:
        if leftovers.in_use(roots.path_of(name)):
            raise errors.StateError(f"root file system {name} is used by a running container")
        roots.remove(name)
        print(name)
    return 0
