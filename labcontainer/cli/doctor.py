"""`labcontainer doctor`: what this machine can do, and the fix where it can't."""

from __future__ import annotations

import shutil
from argparse import ArgumentParser, Namespace


def configure(parser: ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("names", nargs="*", metavar="FACT", help="only these facts, such as userns")


def run(args: Namespace) -> int:
    """Print the report. The status is 1 when a fact that was asked for by name is a no."""
    from labcontainer.lab import doctor

    if args.names:
        found = doctor.examine(args.names)
        if args.json:
            import json

            print(json.dumps([row.as_dict() for row in found], indent=1))
        else:
            for row in found:
                print("\n".join(doctor._row_text(row, _width())))
        return int(not all(row.ok for row in found))
    print(doctor.as_json() if args.json else doctor.as_text(_width()))
    return 0


def _width() -> int:
    return max(60, min(110, shutil.get_terminal_size((100, 24)).columns))
