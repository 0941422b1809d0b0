"""`labcontainer container VERB …`: Docker's long names of commands, `container ls` for `ps`.

What has a command of its own is that command, flags and all: main.py asks `shortened` first. The
verbs that only the long name has are here: `container inspect` and `container prune`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

SAME = """
    attach commit cp create diff exec export kill logs pause port rename restart rm run start stats
    stop top unpause update wait
""".split()
SHORT: dict[str, dict[str, str]] = {
    "container": {
        "ls": "ps",
        "list": "ps",
        "ps": "ps",
        "remove": "rm",
        **{one: one for one in SAME},
    },
    "image": {"build": "build", "list": "images", "remove": "rmi"},
    "builder": {"build": "build"},
}


def shortened(words: list[str]) -> list[str]:
    """`container ls -a` as `ps -a`; what has no short name as it is."""
    command = SHORT[words[0]].get(words[1]) if len(words) > 1 else None
    return [command, *words[2:]] if command else words


def configure_container(parser: ArgumentParser) -> None:
    """The verbs, for help and completion; most are never parsed by this."""
    from labcontainer.cli import looking, main

    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, command in SHORT["container"].items():
        if verb not in ("list", "ps", "remove"):
            help = main.COMMANDS[command]
            one = verbs.add_parser(verb, allow_abbrev=False, help=help, conflict_handler="resolve")
            main.part_of(command, main.module_of(command), "configure")(one)
    shown = verbs.add_parser("inspect", allow_abbrev=False, help="show all of a container")
    shown.add_argument("-f", "--format", default="", metavar="FORM", help="json, or a template")
    shown.add_argument("-s", "--size", action="store_true", help="its sizes too")
    shown.add_argument("names", nargs="+", metavar="CONTAINER", help="names or ids")
    pruned = verbs.add_parser("prune", allow_abbrev=False, help="remove all that do not run")
    pruned.add_argument("-f", "--force", action="store_true", help="do not ask")
    looking.add_filter_long(pruned)


def run_container(args: Namespace) -> int:
    """Do what the verb says."""
    from labcontainer.cli import format as form
    from labcontainer.cli import looking
    from labcontainer.client import daemon

    if args.verb == "inspect":
        return looking.inspect(args.names, ["container"], args.format, size=args.size)
    if not (args.force or looking.sure("This will remove all stopped containers.")):
        return 0
    found = daemon.client().post("/containers/prune", filters=looking.filters(args.filter))
    if names := found.get("ContainersDeleted"):
        print("Deleted Containers:", *names, "", sep="\n")
    print(f"Total reclaimed space: {form.size(found.get('SpaceReclaimed') or 0, 4)}")
    return 0
