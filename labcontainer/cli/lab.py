"""`labcontainer lab release|collect|grade`: the instructor's side of the course;
`labcontainer lab kernel install|remove`: the Jupyter kernel with a machine of its own."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace


def configure(parser: ArgumentParser) -> None:
    """Add the command's words and options."""
    verbs = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    _release(verbs.add_parser("release", help="a folder for students, without solutions"))
    _collect(verbs.add_parser("collect", help="submissions into one folder"))
    _grade(verbs.add_parser("grade", help="check a collected folder in containers"))
    _kernel(verbs.add_parser("kernel", help="the Jupyter kernel in its own machine"))


def _release(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("target", metavar="TARGET", help="a folder that is not there yet, or a .tar.gz file")
    add("--only", metavar="A,B,…", default="", help="only these notebooks; default: all")
    add("--hide", metavar="A,B,…", default="", help="exercises that only the instructor checks")
    add("--seed-from", metavar="FILE", default="", help="a line `student` or `student,seed` each")


def _collect(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("source", metavar="SOURCE", help="the folder with what was handed in")
    add("folder", metavar="FOLDER", help="where it goes")
    add("--layout", metavar="PATH", default="{student}",
        help="where each submission is in SOURCE, as lab-{student}/_data")  # fmt: skip
    add("--until", metavar="TIME", default="", help="mark what was changed later: 2026-12-01T23:59")
    add("--replace", action="store_true", help="take the new files where others are there")


def _grade(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", metavar="FOLDER", help="a collected folder")
    add("--only", metavar="A,B,…", default="", help="only these exercises or notebooks")
    add("--jobs", type=int, metavar="N", help="containers at once; default: one a processor")
    add("--csv", metavar="FILE", help="a row for each exercise of each student")
    add("--totals", metavar="FILE", help="a row for each student")
    add("--json", metavar="FILE", help="all of it; - is standard output")
    add("--seed-from", metavar="FROM", default="progress",
        help="whose right answers: progress, name, or a file as for release")  # fmt: skip
    add("--memory", metavar="SIZE", default="1g", help="of one check; default 1g")
    add("--processes", type=int, metavar="N", default=256, help="of one check; default 256")
    add("--again", action="store_true", help="forget the verdicts of an earlier grading")


def _kernel(parser: ArgumentParser) -> None:
    parser.add_argument("verb", choices=["install", "remove"], help="add it, or take it away")
    parser.add_argument("--prefix", default=sys.prefix, metavar="DIR",
                        help="whose Jupyter; default: this Python environment's")  # fmt: skip
    parser.add_argument("--user", action="store_true", help="for this user, in ~/.local")
    parser.add_argument("--machine", choices=["auto", "uml", "qemu"], default="auto",
                        help="user-mode Linux, QEMU, or what there is")  # fmt: skip
    parser.add_argument("--memory", default="1G", metavar="SIZE", help="the guest's memory")


def run(args: Namespace) -> int:
    """Do it."""
    if args.what == "kernel":
        return _run_kernel(args)
    from labcontainer.lab import instructor

    return instructor.run(args)


def _run_kernel(args: Namespace) -> int:
    """Write or remove the kernel spec, and say where."""
    import site

    from labcontainer.lab import guest_kernel

    prefix = site.getuserbase() if args.user else args.prefix
    if args.verb == "install":
        folder, title = guest_kernel.install(prefix, args.memory, args.machine)
        print(f"{folder}: {title}")
    else:
        for folder in guest_kernel.remove(prefix):
            print(f"{folder}: removed")
    return 0
