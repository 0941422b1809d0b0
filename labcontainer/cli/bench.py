"""`labcontainer bench runtime`: OCI runtimes side by side, as ratios with their spread."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace


def configure(parser: ArgumentParser) -> None:
    """Add the command's words and options."""
    parser.add_argument("what", choices=["runtime"], help="what to measure")
    parser.add_argument("--runs", type=int, default=25, metavar="N", help="rounds, each of all")
    parser.add_argument("--json", metavar="FILE", help="keep every sample, and the machine, here")


def run(args: Namespace) -> int:
    """Measure, and print the table."""
    import os
    import tempfile
    from pathlib import Path

    from labcontainer.bench import report, runtimes, samples
    from labcontainer.errors import UnsupportedError, UsageError
    from labcontainer.runtime.zygote import Zygote

    if args.runs < 1:
        raise UsageError("labcontainer bench: --runs must be at least 1")
    if os.geteuid() != 0:
        raise UnsupportedError("labcontainer bench runtime", "it needs root", "run it by sudo")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="labcontainer-bench-") as name:
        place = Path(name)
        where = runtimes.bundle(place)
        known = runtimes.installed(place)
        taken = {}
        with runtimes.version_2_only(), Zygote.start() as zygote:
            for workload, action in (
                ("run", runtimes.run_once),
                ("create, start, delete", runtimes.three_calls),
            ):
                subjects = {one.name: action(one, place, where) for one in known}
                if workload == "run":
                    subjects["warm zygote"] = runtimes.from_zygote(zygote, place, where)
                taken[workload] = samples.interleave(subjects, args.runs)
            private = runtimes.monitor_memory(zygote, place, where)
    print(report.table([row for name, one in taken.items() for row in report.rows(name, one)]))
    print(f"one monitor's private memory: {private / 2**20:.2f} MB")
    if args.json:
        Path(args.json).write_text(report.as_json(runtimes.machine(), taken))
    return 0
