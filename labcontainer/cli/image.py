"""`labcontainer image …`: all that is about images, and base images without any network."""

from __future__ import annotations

from labcontainer.cli import images, looking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

    from labcontainer.image import hostbase
    from labcontainer.image.store import Image

# Verbs that are commands of their own, too: the module and the command.
SHARED = {
    "ls": ("images", "images"),
    "rm": ("images", "rmi"),
    "tag": ("images", "tag"),
    "history": ("images", "history"),
    "pull": ("transfer", "pull"),
    "push": ("transfer", "push"),
    "save": ("transfer", "save"),
    "load": ("transfer", "load"),
    "import": ("transfer", "import"),
}


def configure(parser: ArgumentParser) -> None:
    """Add the words of `labcontainer image`."""
    from labcontainer.cli import main

    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    help = "make one of this machine's own programs"
    _from_host_words(verbs.add_parser("from-host", allow_abbrev=False, help=help))
    for verb, (_, command) in SHARED.items():
        help = main.COMMANDS[command]
        one = verbs.add_parser(verb, allow_abbrev=False, help=help, conflict_handler="resolve")
        main.part_of(command, main.module_of(command), "configure")(one)
    shown = verbs.add_parser("inspect", allow_abbrev=False, help="show all of an image")
    shown.add_argument("-f", "--format", default="", metavar="FORM", help="json, or a template")
    shown.add_argument("names", nargs="+", metavar="IMAGE")
    pruned = verbs.add_parser("prune", allow_abbrev=False, help="remove those without a name")
    pruned.add_argument("-a", "--all", action="store_true", help="all that no container uses")
    pruned.add_argument("-f", "--force", action="store_true", help="do not ask")
    looking.add_filter_long(pruned)


def _from_host_words(make: ArgumentParser) -> None:
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
    make.add_argument("--output", metavar="DIR", help="a directory with its files, and no image")
    make.add_argument("--replace", action="store_true", help="replace what DIR has")
    make.add_argument("--plan", action="store_true", help="print each file and its reason; no more")


def run(args: Namespace) -> int:
    """Carry out the verb."""
    own = {"from-host": _from_host, "inspect": _inspect, "prune": _prune}
    if args.verb in own:
        return own[args.verb](args)
    from labcontainer.cli import main

    command = SHARED[args.verb][1]
    return int(main.part_of(command, main.module_of(command), "run")(args))


def _from_host(args: Namespace) -> int:
    from labcontainer.image import hostbase, hostimage, reference

    name = reference.parse(args.name)
    recipe = hostbase.recipe(
        name.familiar_name,
        tuple(args.programs),
        python=args.python,
        terminfo=args.terminfo,
        certificates=args.ca_certs,
    )
    if args.plan:
        for entry in hostbase.plan(recipe):
            print(entry)
        return 0
    if args.output:
        print(told(args.output, hostbase.build(recipe, args.output, replace=args.replace)))
        return 0
    image, report = hostimage.make(images.store(), recipe, name.canonical)
    print(f"{told(name.familiar, report)}; {image.id}")
    return 0


def told(where: str, report: hostbase.Report) -> str:
    """One line on what was built."""
    left_out = f"; not on this machine: {' '.join(report.missing)}" if report.missing else ""
    return f"{where}: {report.files} files, {report.size / 1e6:.1f} MB{left_out}"


def _inspect(args: Namespace) -> int:
    return looking.show_found(args.names, "image", args.format, _described)


def _described(name: str) -> dict[str, Any]:
    where = images.store()
    return described(where.image(name))


def described(image: Image) -> dict[str, Any]:
    """An image in the words of Docker's ImageInspect."""
    from labcontainer.image.snapshots import Snapshots

    where = images.store()
    return {
        "Id": image.id,
        "RepoTags": list(image.tags),
        "RepoDigests": list(image.digests),
        "Parent": "",
        "Comment": "",
        "Created": image.config.created,
        "Author": image.config.author,
        "Config": dict(image.config.config),
        "Architecture": image.config.platform.architecture,
        "Variant": image.config.platform.variant,
        "Os": image.config.platform.os,
        "Size": Snapshots(where).size(image),
        "GraphDriver": {"Name": "overlay2", "Data": {
            "LowerDir": ":".join(Snapshots(where).directory(one)
                                 for one in reversed(image.config.diff_ids))}},
        "RootFS": {"Type": "layers", "Layers": list(image.config.diff_ids)},
        "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
        "Descriptor": image.descriptor.to_json(),
    }  # fmt: skip


def _prune(args: Namespace) -> int:
    kind = (
        "images without at least one container associated to them"
        if args.all
        else "dangling images"
    )
    if not (args.force or looking.sure(f"This will remove all {kind}.")):
        return 0
    words = looking.filters(args.filter) or {}
    where = images.store()
    fit = {one.id for one in images.chosen(where, words)}
    removed, freed = where.prune(
        all_unused=args.all, in_use=images.used_by, wanted=lambda image: image.id in fit
    )
    if removed:
        print("Deleted Images:")
        for what, one in removed:
            print(f"{what}: {one}")
        print()
    from labcontainer.cli import format as form

    print(f"Total reclaimed space: {form.size(freed, 4)}")
    return 0
