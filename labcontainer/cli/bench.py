"""`labcontainer bench runtime|build|unpack|transfer`: ratios, with their spread."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

Taken = dict[str, dict[str, list[float]]]


def configure(parser: ArgumentParser) -> None:
    """Add the command's words and options."""
    kinds = ["runtime", "build", "unpack", "transfer"]
    parser.add_argument("what", choices=kinds, help="what to measure")
    parser.add_argument("--runs", type=int, default=25, metavar="N", help="rounds, each of all")
    parser.add_argument("--json", metavar="FILE", help="keep every sample, and the machine, here")


def run(args: Namespace) -> int:
    """Measure, and print the table."""
    import os
    import tempfile
    from pathlib import Path

    from labcontainer.bench import report, runtimes
    from labcontainer.errors import UnsupportedError, UsageError

    if args.runs < 1:
        raise UsageError("labcontainer bench: --runs must be at least 1")
    if os.geteuid() != 0:
        raise UnsupportedError(f"labcontainer bench {args.what}", "it needs root", "run it by sudo")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    measure, base = {
        "runtime": (_runtime, "runc"),
        "build": (_build, "dockerd"),
        "unpack": (_unpack, "tar"),
        "transfer": (_transfer, "podman"),
    }[args.what]
    with tempfile.TemporaryDirectory(prefix="labcontainer-bench-") as name:
        taken, note = measure(Path(name), args.runs)
    rows = [row for workload, one in taken.items() for row in report.rows(workload, one, base)]
    print(report.table(rows, base))
    if note:
        print(note)
    if args.json:
        Path(args.json).write_text(report.as_json(runtimes.machine(), taken))
    return 0


def _runtime(place: Path, runs: int) -> tuple[Taken, str]:
    """OCI runtimes, and what one monitor costs."""
    from labcontainer.bench import runtimes, samples
    from labcontainer.runtime.zygote import Zygote

    where = runtimes.bundle(place)
    known = runtimes.installed(place)
    taken: Taken = {}
    with runtimes.version_2_only(), Zygote.start() as zygote:
        for workload, action in (
            ("run", runtimes.run_once),
            ("create, start, delete", runtimes.three_calls),
        ):
            subjects = {one.name: action(one, place, where) for one in known}
            if workload == "run":
                subjects["warm zygote"] = runtimes.from_zygote(zygote, place, where)
            taken[workload] = samples.interleave(subjects, runs)
        private = runtimes.monitor_memory(zygote, place, where)
    return taken, f"one monitor's private memory: {private / 2**20:.2f} MB"


def _build(place: Path, runs: int) -> tuple[Taken, str]:
    """A build of which every step is cached."""
    from labcontainer.bench import builds, samples

    top = builds.context(place)
    own = builds.ours(place, top)
    with builds.dockerd(place) as words:
        subjects = {"labcontainer": own, "dockerd": builds.classic(words, top)}
        return {"10 cached steps": samples.interleave(subjects, runs)}, ""


def _unpack(place: Path, runs: int) -> tuple[Taken, str]:
    """A layer of many files, in processor time."""
    from labcontainer.bench import samples, unpack

    subjects = unpack.subjects(place, unpack.layer(place))
    taken = samples.interleave(subjects, runs, warm_up=1, clock=samples.processor_time)
    return {"unpack, processor time": taken}, ""


def _transfer(place: Path, runs: int) -> tuple[Taken, str]:
    """An image of many files pulled and pushed."""
    from labcontainer.bench import samples, transfers

    with transfers.registry(place) as port:
        transfers.image(place, port)
        taken = {
            "pull": samples.interleave(transfers.pulls(place, port), runs, warm_up=1),
            "push": samples.interleave(transfers.pushes(place, port), runs, warm_up=1),
        }
        pulled, pushed = transfers.peak_memory(place, port)
    note = f"most memory of one pull {pulled / 1e6:.0f} MB, of one push {pushed / 1e6:.0f} MB"
    return taken, note
