"""`labcontainer vm run [FLAG …] -- COMMAND …`: a program under a kernel of its own."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace


def configure(parser: ArgumentParser) -> None:
    """Add the command's words and options."""
    parser.add_argument("verb", choices=["run", "plan"], help="run a program, or print the boot")
    parser.add_argument("--memory", default="512M", metavar="SIZE", help="the guest's memory")
    parser.add_argument("--user", type=int, default=0, metavar="UID", help="who runs it, in there")
    parser.add_argument("--share", action="append", default=[], metavar="DIR",
                        help="a directory that the guest may write to")  # fmt: skip
    parser.add_argument("--workdir", default="/", metavar="DIR", help="where the program starts")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="end it after so long")
    parser.add_argument("command", nargs="*", metavar="-- COMMAND …")


def parse(words: list[str]) -> Namespace:
    """The arguments: all after `--` is the program's own, also what looks like one of our flags.

    argparse's REMAINDER would take our flags too, as they come after the verb.
    """
    cut = words.index("--") if "--" in words else len(words)
    parser = ArgumentParser(prog="labcontainer vm", allow_abbrev=False)
    configure(parser)
    args = parser.parse_args(words[:cut])
    args.command += words[cut + 1 :]
    return args


def run(args: Namespace) -> int:
    """Run the command in a guest; its exit status."""
    from labcontainer.errors import UsageError
    from labcontainer.vm import boot, uml

    if args.verb == "plan":
        machine = uml.Machine(args.memory, tuple(args.share))
        print("\n".join(str(step) for step in boot.plan(uml.boot_of(machine))))
        return 0
    if not args.command:
        raise UsageError("labcontainer vm run: no command; try: labcontainer vm run -- uname -a")
    return uml.run(
        args.command, args.user, args.memory, None, args.workdir, args.share, args.timeout
    )
