"""Figures of a data set: for print, for eyes that see no colour, and for those that see nothing.

Shades of grey, a label at each thing instead of a legend, every sample drawn, the interval of the
median beside it; an axis that is logarithmic says so. Each figure has a sentence that tells what is
to be seen, and its data as a table. The same data give the same bytes.
"""

from __future__ import annotations

import io
import math
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from labcontainer.bench import samples
from labcontainer.bench.dataset import MEASURES, Dataset, describe
from labcontainer.errors import SpecError
from labcontainer.record import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

BASE = "process"
MARKERS = "osD^vPX*hd<>p"
STYLES = ("-", "--", "-.", ":")
INK, GREY = "#111111", "#8a8a8a"
SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "labcontainer",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
COMPARED = ("system call", "fork and exec", "file create", "file read", "tcp round trip", "cpu")
COLUMNS = 2
GIB = 1024.0  # MiB


class Plot(Record):
    """A figure: SVG text, what one sees, the data (its first row is the head), a caption."""

    name: str
    svg: str
    alt: str
    table: tuple[tuple[str, ...], ...]
    caption: str


def number(value: float) -> str:
    """Three digits, as a person writes them."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def outliers(values: Sequence[float]) -> list[float]:
    """Those far from the middle half: more than one and a half times its width (Tukey)."""
    low, high = samples.quantile(values, 0.25), samples.quantile(values, 0.75)
    far = 1.5 * (high - low)
    return [value for value in values if not low - far <= value <= high + far]


def subjects_of(data: Dataset, measure: str, names: Sequence[str] = ()) -> list[str]:
    """Who has samples of a measure, the least median first; of `names` where they are given."""
    taken = data.samples.get(measure, {})
    chosen = [name for name in taken if not names or name in names]
    if not chosen:
        raise SpecError("the data set", f"it has no samples of {measure!r}")
    return sorted(chosen, key=lambda name: statistics.median(taken[name]))


# --- distributions ------------------------------------------------------------------------------


def distribution(data: Dataset, measure: str = "start", names: Sequence[str] = ()) -> Plot:
    """Every sample of a measure, subject by subject, on a logarithmic axis."""
    about = MEASURES[measure]
    order = subjects_of(data, measure, names)
    taken = data.samples[measure]
    rows = [("subject", "runs", f"median, {about.unit}", "95 % interval", "least", "most")]
    with _figure(7.2, 0.6 + 0.34 * len(order)) as figure:
        axes = figure.add_subplot()
        for place, name in enumerate(order):
            middle = samples.median_interval(taken[name])
            _draw_samples(axes, place, taken[name], middle)
            rows.append(
                (name, str(len(taken[name])), number(middle.value),
                 f"{number(middle.low)} to {number(middle.high)}", number(min(taken[name])),
                 number(max(taken[name])))
            )  # fmt: skip
        _name_rows(axes, order)
        _logarithmic(axes)
        axes.set_xlabel(f"{about.title}, {about.unit} (logarithmic scale)")
        svg = _svg(figure)
    first, last = order[0], order[-1]
    times = statistics.median(taken[last]) / statistics.median(taken[first])
    alt = (
        f"One row for each of {len(order)} subjects, every run a dot. Shortest: {first}, "
        f"{rows[1][2]} {about.unit}. Longest: {last}, {rows[-1][2]} {about.unit}, "
        f"{number(times)} times that."
    )
    note = "circles: runs, x: outliers; tick and bar below: median, its 95 % interval"
    return Plot(measure.replace(" ", "-"), svg, alt, tuple(rows), f"{_source(data)}; {note}")


def _draw_samples(
    axes: Axes, place: int, values: Sequence[float], middle: samples.Interval
) -> None:
    far = outliers(values)
    near = [value for value in values if value not in far]
    axes.plot(near, [place] * len(near), "o", mfc="none", mec=GREY, ms=4, mew=0.8)
    axes.plot(far, [place] * len(far), "x", color=GREY, ms=5)
    below = place + 0.27
    axes.plot([middle.low, middle.high], [below, below], "-", color=INK, lw=2)
    axes.plot([middle.value], [below], "|", color=INK, ms=8, mew=2)
    axes.annotate(number(middle.value), (max(values), place), xytext=(7, 0),
                  textcoords="offset points", va="center", color=INK)  # fmt: skip


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.14)
    axes.grid(axis="x", color="#e0e0e0", lw=0.6)
    axes.set_axisbelow(True)


# --- ratios -------------------------------------------------------------------------------------


def ratios(data: Dataset, names: Sequence[str], measures: Sequence[str] = COMPARED) -> Plot:
    """How many times a process's, measure by measure: medians of the same rounds."""
    shown = [name for name in measures if BASE in data.samples.get(name, {})]
    lines = math.ceil(len(shown) / COLUMNS)
    rows: list[tuple[str, ...]] = [("measure", "subject", "times a process", "95 % interval")]
    with _figure(7.2, lines * (0.55 + 0.27 * len(names))) as figure:
        for at, measure in enumerate(shown, 1):
            axes = figure.add_subplot(lines, COLUMNS, at)
            taken = data.samples[measure]
            present = [name for name in names if name in taken]
            for place, name in enumerate(present):
                found = samples.ratio_interval(taken[name], taken[BASE])
                _draw_ratio(axes, place, found)
                interval = f"{number(found.low)} to {number(found.high)}"
                rows.append((measure, name, number(found.value), interval))
            axes.axvline(1, color=INK, lw=0.8, ls=":")
            _name_rows(axes, present)
            _logarithmic(axes)
            axes.set_title(MEASURES[measure].title, fontsize=9, loc="left")
        figure.supxlabel("times a plain process (logarithmic scale; dotted: 1)", fontsize=9)
        svg = _svg(figure)
    most = max(rows[1:], key=lambda row: float(row[2].replace(",", "")))
    alt = (
        f"{len(shown)} small panels, one a measure, each with a dot for {', '.join(names)}. "
        f"Farthest from a process: {most[1]} at {most[0]}, {most[2]} times."
    )
    return Plot("ratios", svg, alt, tuple(rows), f"{_source(data)}; bars: 95 % intervals")


def _draw_ratio(axes: Axes, place: int, found: samples.Interval) -> None:
    axes.plot([found.low, found.high], [place, place], "-", color=INK, lw=2)
    axes.plot([found.value], [place], "o", color=INK, ms=5)
    axes.annotate(f"{number(found.value)}×", (found.high, place), xytext=(6, 0),
                  textcoords="offset points", va="center")  # fmt: skip


# --- memory, density, disk ----------------------------------------------------------------------


def each(data: Dataset, name: str) -> float:
    """MiB of one more instance: the slope between the fewest and the most that were counted."""
    rows = data.memory[name]
    (few, little), (many, much) = rows[0], rows[-1]
    return (much - little) / (many - few) if many > few else little / few


def memory(data: Dataset, names: Sequence[str] = ()) -> Plot:
    """Memory of one to many idle instances."""
    order = sorted((one for one in data.memory if not names or one in names),
                   key=lambda name: each(data, name))  # fmt: skip
    rows: list[tuple[str, ...]] = [("subject", "instances", "MiB of all", "MiB of one more")]
    with _figure(7.2, 3.8) as figure:
        axes = figure.add_subplot()
        for at, (name, twins) in enumerate(_lines(data, order).items()):
            counts, mib = zip(*data.memory[name], strict=True)
            axes.plot(counts, mib, ls=STYLES[at % 4], marker=MARKERS[at % len(MARKERS)], ms=4,
                      color=INK, lw=1)  # fmt: skip
            more = number(each(data, name))
            who = f"{name} and {len(twins)} more" if twins else name
            axes.annotate(f"{who}: {more} MiB each", (counts[-1], mib[-1]), xytext=(6, 0),
                          textcoords="offset points", va="center", fontsize=8)  # fmt: skip
            for twin in (name, *twins):
                rows += [(twin, str(n), number(mib), more) for n, mib in data.memory[twin]]
        _logarithmic(axes, "xy")
        axes.margins(x=0.05)
        axes.set_xlim(right=axes.get_xlim()[1] * 6)
        axes.set_xlabel("idle instances (logarithmic scale)")
        axes.set_ylabel("MiB of all (logarithmic scale)")
        svg = _svg(figure)
    alt = (
        f"Lines of {len(order)} subjects, rising with the number of instances. Lowest: {order[0]}, "
        f"{number(each(data, order[0]))} MiB for one more. Highest: {order[-1]}, "
        f"{number(each(data, order[-1]))} MiB."
    )
    return Plot("memory", svg, alt, tuple(rows), f"{_source(data)}; shares of pages (Pss)")


def _lines(data: Dataset, order: Sequence[str]) -> dict[str, list[str]]:
    """Who gets a line, and who would lie on it: those that need the same to a fifth."""
    found: dict[str, list[str]] = {}
    for name in sorted(order, key=lambda one: one != BASE):
        mine = each(data, name)
        same = [one for one in found if 0.8 < mine / (each(data, one) or 1) < 1.25]
        if same:
            found[same[0]].append(name)
        else:
            found[name] = []
    return found


def density(data: Dataset, names: Sequence[str] = ()) -> Plot:
    """How many idle instances would fit into one GiB, reckoned from the memory of one more."""
    order = sorted((one for one in data.memory if not names or one in names),
                   key=lambda name: each(data, name))  # fmt: skip
    fit = {name: GIB / each(data, name) for name in order}
    rows = [("subject", "instances in 1 GiB"), *[(name, number(fit[name])) for name in order]]
    svg = _bars(fit, "idle instances in 1 GiB of memory, reckoned (logarithmic scale)")
    alt = (
        f"Bars: most fit of {order[0]}, {number(fit[order[0]])}; fewest of {order[-1]}, "
        f"{number(fit[order[-1]])}."
    )
    return Plot("density", svg, alt, tuple(rows), _source(data))


def disk(data: Dataset) -> Plot:
    """What lies on the disk: the image, and what a virtual machine has besides."""
    sizes = {name: size / 2**20 for name, size in data.disk.items()}
    rows = [("what", "MiB"), *[(name, number(size)) for name, size in sizes.items()]]
    svg = _bars(sizes, "MiB on the disk", log=False)
    said = ", ".join(f"{name} {number(size)} MiB" for name, size in sizes.items())
    return Plot("disk", svg, f"Bars: {said}.", tuple(rows), _source(data))


def _bars(values: dict[str, float], label: str, log: bool = True) -> str:
    with _figure(7.2, 0.7 + 0.3 * len(values)) as figure:
        axes = figure.add_subplot()
        for place, value in enumerate(values.values()):
            axes.barh(place, value, height=0.6, color="#d9d9d9", edgecolor=INK, lw=0.8)
            axes.annotate(number(value), (value, place), xytext=(4, 0), va="center",
                          textcoords="offset points")  # fmt: skip
        _name_rows(axes, list(values))
        if log:
            _logarithmic(axes)
        axes.set_xlabel(label)
        return _svg(figure)


def every(data: Dataset) -> list[Plot]:
    """All figures that the data set has the samples for."""
    found = [distribution(data, measure) for measure in data.samples]
    others = [name for name in data.samples.get("cpu", {}) if name != BASE]
    found.append(ratios(data, others, [name for name in MEASURES if name != "start"]))
    if data.memory:
        found += [memory(data), density(data)]
    return [*found, disk(data)] if data.disk else found


# --- matplotlib ---------------------------------------------------------------------------------


@contextmanager
def _figure(width: float, height: float) -> Iterator[Figure]:
    """A figure of so many inches, with our settings while it is drawn."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        yield Figure(figsize=(width, max(height, 1.4)), layout="constrained")


def _logarithmic(axes: Axes, names: str = "x") -> None:
    """Logarithmic axes with plain numbers at their ticks: 1, 10, 100; more where there is room."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    for name in names:
        axes.set(**{f"{name}scale": "log"})
        axis: Axis = getattr(axes, f"{name}axis")
        low, high = axis.get_view_interval()
        between = (1.0, 2.0, 5.0) if high < 30 * low else (1.0,)
        axis.set_major_locator(MaxNLocator(4) if high < 3 * low else LogLocator(subs=between))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axis.set_minor_formatter(NullFormatter())


def _svg(figure: Figure) -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def _source(data: Dataset) -> str:
    said = describe(data)
    return said[0].upper() + said[1:]
