"""`labcontainer bench run|plot|compare`: a process, a container and a virtual machine side by side;
`labcontainer bench runtime|engine|build|unpack|transfer|lab`: parts beside others, as ratios."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

Taken = dict[str, dict[str, list[float]]]
VERBS = ("run", "plot", "compare")
KINDS = ("runtime", "engine", "build", "unpack", "transfer", "lab")
RUNS = 25


def configure(parser: ArgumentParser) -> None:
    """Add the command's words and options."""
    parser.add_argument("what", choices=[*VERBS, *KINDS], help="what to measure, or to do")
    parser.add_argument("files", nargs="*", metavar="FILE",
                        help="plot, compare: what a run has kept, or `recorded`")  # fmt: skip
    parser.add_argument("--runs", type=int, metavar="N", help="rounds, each of all")
    parser.add_argument("--json", metavar="FILE", help="keep every sample, and the machine, here")
    parser.add_argument("--quick", action="store_true", help="run: fewer rounds and subjects")
    parser.add_argument("--only", metavar="A,B,…", help="run: only these subjects")
    parser.add_argument("--note", default="", help="run: a word about the machine, kept with it")
    parser.add_argument("--out", default=".", metavar="DIR", help="plot: where the figures go")


def run(args: Namespace) -> int:
    """Measure and print, or show what was measured."""
    from labcontainer.errors import UsageError

    if args.runs is not None and args.runs < 1:
        raise UsageError("labcontainer bench: --runs must be at least 1")
    counts = {"plot": (1,), "compare": (1, 2)}.get(args.what, (0,))
    if len(args.files) not in counts:
        few = " or ".join(map(str, counts)) if counts[0] else "no"
        raise UsageError(f"labcontainer bench {args.what} takes {few} file{'s' * (counts != (1,))}")
    return {"run": _run, "plot": _plot, "compare": _compare}.get(args.what, _engines)(args)


def _run(args: Namespace) -> int:
    """One workload on many machines."""
    import os
    import sys
    from pathlib import Path

    from labcontainer.bench import compare, measures
    from labcontainer.errors import UsageError

    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    plan = (measures.QUICK_PLAN if args.quick else measures.Plan()).replace(note=args.note)
    if args.runs:
        plan = plan.replace(runs=args.runs)
    if args.only:
        names = tuple(args.only.split(","))
        unknown = [name for name in names if name not in measures.NAMES]
        if unknown:
            known = ", ".join(measures.NAMES)
            raise UsageError(
                f"labcontainer bench run: no subject {unknown[0]!r}; there are {known}"
            )
        plan = plan.replace(names=names)
    found = measures.run(plan, lambda words: print(words, file=sys.stderr))
    if args.json:
        Path(args.json).write_text(found.as_json())
    print(compare.report(found))
    return 0


def _plot(args: Namespace) -> int:
    """Every figure as SVG, with a page that has its words and its table."""
    from pathlib import Path

    from labcontainer.bench import dataset, plots

    place = Path(args.out)
    place.mkdir(parents=True, exist_ok=True)
    page = ["# Figures", ""]
    for plot in plots.every(dataset.load(args.files[0])):
        (place / f"{plot.name}.svg").write_text(plot.svg)
        head, *rows = (f"| {' | '.join(row)} |" for row in plot.table)
        rule = "|" + "---|" * len(plot.table[0])
        page += [f"![{plot.alt}]({plot.name}.svg)", "", plot.caption, "", head, rule, *rows, ""]
        print(place / f"{plot.name}.svg")
    (place / "figures.md").write_text("\n".join(page))
    return 0


def _compare(args: Namespace) -> int:
    """Ratios with intervals: of one run's subjects, or of two runs."""
    from labcontainer.bench import compare, dataset

    print(compare.report(*[dataset.load(path) for path in args.files]))
    return 0


def _engines(args: Namespace) -> int:
    """This engine beside others."""
    import os
    import tempfile
    from pathlib import Path

    from labcontainer.bench import report, runtimes
    from labcontainer.errors import UnsupportedError

    if os.geteuid() != 0 and args.what != "lab":
        raise UnsupportedError(f"labcontainer bench {args.what}", "it needs root", "run it by sudo")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    measure, base = {
        "runtime": (_runtime, "runc"),
        "engine": (_engine, "dockerd"),
        "build": (_build, "dockerd"),
        "unpack": (_unpack, "tar"),
        "transfer": (_transfer, "podman"),
        "lab": (_lab, "plain kernel"),
    }[args.what]
    with tempfile.TemporaryDirectory(prefix="labcontainer-bench-") as name:
        taken, note = measure(Path(name), args.runs or RUNS)
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


def _engine(place: Path, runs: int) -> tuple[Taken, str]:
    """Our daemon beside dockerd, and with many containers running."""
    from labcontainer.bench import builds, daemons, samples

    with daemons.ours(place) as own, builds.dockerd(place, bridge="10.213.9.1/24") as their:
        taken = {
            "docker run": samples.interleave(daemons.runs(own, their), runs),
            "docker exec": samples.interleave(daemons.execs(own, their), runs),
            "exec by the API": samples.interleave(
                daemons.api_execs(own, place / "docker.sock"), runs
            ),
            "a life by the API": samples.interleave(
                {"ours": daemons.life(own), "dockerd": daemons.life(place / "docker.sock")}, runs
            ),
            "8 runs at once": samples.interleave(daemons.at_once(own, their), max(runs // 3, 3)),
        }
        private, shim = daemons.memory(own, place)
        taken["list of 100"] = samples.interleave(daemons.lists(own, place / "docker.sock"), runs)
        alone = samples.interleave({"none running": daemons.life(own)}, runs)
        with daemons.crowd(own):
            alone |= samples.interleave({"200 running": daemons.life(own)}, runs)
        taken["ours, by the API"] = alone
    slower = samples.ratio_interval(alone["200 running"], alone["none running"])
    return taken, (
        f"beside an idle container: a monitor of {private / 2**20:.2f} MB, a shim of "
        f"{shim / 2**20:.2f} MB of private memory; a life with 200 running takes {slower} times "
        "as long as with none"
    )


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


def _lab(place: Path, runs: int) -> tuple[Taken, str]:
    """A notebook's kernel, here and in a user-mode kernel."""
    import statistics

    from labcontainer.bench import kernels, samples

    with kernels.subjects(place) as subjects:
        taken = samples.interleave(subjects, runs, warm_up=1)
    told = statistics.median(kernels.ratio(taken))
    return {"to the first cell": taken}, (
        f"the guest's first cell takes {told:.2f} times a plain kernel's and a boot together"
    )
