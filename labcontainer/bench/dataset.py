"""What was measured, as JSON: every sample, the machine, and who could not take part and why.

A figure or a comparison is made from such a file, on any machine and without any right. One data
set comes with the package, marked as recorded: it shows what the learner's own machine can't run.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labcontainer.errors import NotFoundError, SpecError
from labcontainer.record import Record

FORMAT = "labcontainer-bench/1"
RECORDED = Path(__file__).resolve().parent / "recorded.json"
Samples = dict[str, dict[str, list[float]]]


class Measure(Record):
    """What a number means. `higher`: more is better."""

    title: str
    unit: str
    higher: bool = False


MEASURES: Mapping[str, Measure] = {
    "start": Measure("Start to the program's first byte", "ms"),
    "cpu": Measure("Python loop, one turn", "ns"),
    "system call": Measure("System call (getppid)", "ns"),
    "fork and exec": Measure("fork and exec of a program", "µs"),
    "file create": Measure("Create and remove a file, in memory", "µs"),
    "file write": Measure("Write 1 MiB, in memory", "µs"),
    "file read": Measure("Read 1 MiB, in memory", "µs"),
    "fsync": Measure("Add 4 KiB and fsync, on a disk", "µs"),
    "tcp round trip": Measure("TCP over loopback, a byte there and back", "µs"),
    "tcp throughput": Measure("TCP over loopback", "MB/s", True),
}


class Dataset(Record):
    """One run of the benchmark.

    `samples`: measure -> subject -> a number for each round, in the measure's unit.
    `memory`: subject -> [instances, MiB of all of them together], one for each number.
    `disk`: what -> bytes. `absent`: subject -> why it is not there.
    """

    machine: Mapping[str, Any]
    samples: Samples
    memory: dict[str, list[tuple[int, float]]]
    disk: dict[str, float]
    absent: dict[str, str]
    recorded: bool = False

    def as_json(self) -> str:
        """The file's text."""
        units = {name: measure.unit for name, measure in MEASURES.items()}
        return json.dumps({"format": FORMAT, "units": units, **self.as_dict()}, indent=1) + "\n"


def from_json(text: str, where: str = "the data") -> Dataset:
    """A data set of a file's text.

    Raises:
        SpecError: it is no data set, or of another version.
    """
    try:
        document = json.loads(text)
        if document.pop("format") != FORMAT:
            raise SpecError(where, f"its format is not {FORMAT}")
        document.pop("units", None)
        memory = {name: [(int(number), float(mib)) for number, mib in rows]
                  for name, rows in document.pop("memory").items()}  # fmt: skip
        found = Dataset(memory=memory, **document)
        unknown = set(found.samples) - set(MEASURES)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SpecError(where, f"it is no data set of the benchmark: {error!r}") from None
    if unknown:
        raise SpecError(where, f"it has an unknown measure: {sorted(unknown)[0]}")
    return found


def load(path: str) -> Dataset:
    """The data set of a file; `recorded` is the one that comes with the package."""
    place = RECORDED if path == "recorded" else Path(path)
    try:
        return from_json(place.read_text(), str(place))
    except FileNotFoundError:
        raise NotFoundError(f"the data set {path} does not exist") from None


def recorded() -> Dataset:
    """The one that comes with the package."""
    return load("recorded")


def machine(note: str = "") -> dict[str, Any]:
    """This machine, as far as it matters for what is measured, without its name."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with open("/proc/cpuinfo") as file:
        flags = next((line for line in file if line.startswith("flags")), "")
    return {
        "kind": "virtual machine" if " hypervisor" in flags else "computer",
        "processors": len(os.sched_getaffinity(0)),
        "memory": f"{memory / 2**30:.0f} GiB",
        "kernel": "Linux " + ".".join(platform.release().split(".")[:2]),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "load before": round(os.getloadavg()[0], 1),
        "note": note,
    }


def describe(data: Dataset) -> str:
    """The machine in one line."""
    said = data.machine
    mark = "recorded on" if data.recorded else "measured on"
    words = f"{mark} a {said['processors']}-processor {said['kind']}, {said['kernel']}"
    load = f", load {said['load before']} before"
    return words + load + (f" ({said['note']})" if said.get("note") else "")
