"""Data sets, figures and comparisons: of samples that are known beforehand, and of the recorded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest

from labcontainer.bench import compare, dataset, measures, memory, plots, samples, subjects
from labcontainer.bench.dataset import Dataset
from labcontainer.cli import main
from labcontainer.errors import LabError, NotFoundError, SpecError
from tests.system.lab_home import eventually

ROOT = Path(__file__).resolve().parents[2]
DATA = Dataset(
    machine={"kind": "computer", "processors": 2, "kernel": "Linux 6.1", "load before": 0.1},
    samples={
        "start": {"process": [1.0, 1.1, 0.9, 1.0, 9.0], "vm": [2000.0, 2100.0, 1900.0, 2000, 2050]},
        "cpu": {"process": [30.0, 31, 30, 29, 30], "vm": [30.5, 30, 30, 31, 29.5]},
        "system call": {"process": [100.0] * 5, "vm": [700.0, 690, 700, 720, 710]},
    },
    memory={"process": [(1, 2.0), (11, 12.0)], "vm": [(1, 150.0), (2, 250.0)]},
    disk={"image": 13e6, "kernel": 15e6},
    absent={"kvm": "there is no /dev/kvm"},
)


def test_a_data_set_survives_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(DATA.as_json())
    assert dataset.load(str(tmp_path / "a.json")) == DATA


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": "other"}', '{"format": "labcontainer-bench/1"}',
     DATA.as_json().replace('"cpu": {', '"color": {')],
)  # fmt: skip
def test_what_is_no_data_set_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        dataset.from_json(text)


def test_a_file_that_is_missing_is_told() -> None:
    with pytest.raises(NotFoundError, match="no-such does not exist"):
        dataset.load("no-such")


def test_the_machine_is_described_without_its_name() -> None:
    said = dataset.machine("quiet")
    assert os.uname().nodename not in json.dumps(said)
    assert said["processors"] >= 1 and said["kernel"].startswith("Linux ")
    assert dataset.describe(DATA.replace(machine=said)).endswith("(quiet)")


# --- figures


def test_outliers_are_those_far_from_the_middle_half() -> None:
    assert plots.outliers([1.0, 1.1, 0.9, 1.0, 9.0]) == [9.0]
    assert plots.outliers([1.0, 1.0, 1.0]) == []


@pytest.mark.parametrize(
    ("value", "text"), [(1234.5, "1,234"), (12.34, "12.3"), (1.234, "1.23"), (0.05, "0.05")]
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert plots.number(value) == text


@pytest.mark.parametrize("data", [DATA, dataset.recorded()], ids=["known", "recorded"])
def test_every_figure_is_a_drawing_with_words_and_a_table(data: Dataset) -> None:
    found = plots.every(data)
    assert {"start", "ratios", "memory", "density", "disk"} <= {plot.name for plot in found}
    for plot in found:
        assert ET.fromstring(plot.svg).tag.endswith("svg")
        assert len(plot.alt) > 30 and len(plot.table) >= 2
        assert len({len(row) for row in plot.table}) == 1
        assert "on a 2-processor" in plot.caption


def test_the_same_data_give_the_same_drawing() -> None:
    assert plots.distribution(DATA).svg == plots.distribution(DATA).svg


def test_colours_are_shades_of_grey() -> None:
    import re

    for plot in plots.every(DATA):
        for red, green, blue in re.findall(r"#(\w\w)(\w\w)(\w\w)\b", plot.svg):
            assert red == green == blue, plot.name


def test_an_axis_that_is_logarithmic_says_so() -> None:
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        assert "logarithmic scale" in plots.distribution(DATA).svg
        assert "logarithmic scale" not in plots.disk(DATA).svg


def test_a_distribution_tells_the_least_the_most_and_the_interval() -> None:
    plot = plots.distribution(DATA)
    assert plot.table[1] == ("process", "5", "1.00", "0.90 to 9.00", "0.90", "9.00")
    assert "2,000 times that" in plot.alt


def test_memory_of_one_more_is_the_slope() -> None:
    assert plots.each(DATA, "process") == 1.0
    assert plots.each(DATA, "vm") == 100.0
    assert plots.density(DATA).table[1:] == (("process", "1,024"), ("vm", "10.2"))


def test_a_measure_that_nobody_has_is_told() -> None:
    with pytest.raises(SpecError, match="no samples of 'fsync'"):
        plots.distribution(DATA, "fsync")


# --- comparisons


def test_what_the_intervals_support() -> None:
    said = {line.measure: line.verdict for line in compare.within(DATA)}
    assert said["system call"] == compare.MORE
    assert said["cpu"] == compare.OPEN


def test_few_rounds_give_no_verdict() -> None:
    few = {name: one[:4] for name, one in DATA.samples["system call"].items()}
    (line,) = compare.within(DATA.replace(samples={"system call": few}))
    assert line.verdict == compare.FEW


def test_two_runs_are_compared_for_what_both_have() -> None:
    faster = DATA.replace(samples={"system call": {"vm": [70.0] * 9}})
    (line,) = compare.between(faster, DATA)
    assert line.verdict == compare.LESS
    assert line.ratio.value == pytest.approx(0.1)


def test_runs_without_common_rounds_are_resampled_alone() -> None:
    found = samples.unpaired_ratio([2.0] * 7, [1.0] * 3)
    assert (found.value, found.low, found.high) == (2.0, 2.0, 2.0)


def test_the_recorded_data_say_that_they_are() -> None:
    data = dataset.recorded()
    assert data.recorded
    assert dataset.describe(data).startswith("recorded on a 2-processor virtual machine, Linux 6.")
    assert {"process", "labcontainer", "runc", "UML", "QEMU TCG"} <= set(data.samples["start"])
    assert "QEMU KVM" in data.absent


# --- who, and what


def test_a_command_is_timed_to_its_first_byte_and_passes_its_input_on() -> None:
    subject = subjects.process()
    assert subject.start() > 0
    assert subject.run(("/bin/cat",), b"hello") == b"hello"


def test_a_command_that_fails_says_its_own_words() -> None:
    subject = subjects.Command("odd", lambda argv: ["sh", "-c", "echo no luck >&2; exit 3"])
    with pytest.raises(LabError, match="odd ended with 3: no luck"):
        subject.run(("x",), b"")


@pytest.mark.requires("busybox")
def test_instances_are_held_and_let_go() -> None:
    with subjects.process().held(3) as pids:
        assert len(set(pids)) == 3
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
        assert 0 < memory.memory_of(pids[:1]) <= memory.memory_of(pids) < 100
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def end(pids: Iterable[int]) -> None:
    """A shell may end by itself meanwhile, as its child has been killed."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_family_is_all_that_descends() -> None:
    program = subprocess.Popen(["sh", "-c", "sleep 60 & wait"], stdout=subprocess.DEVNULL)
    try:
        assert eventually(lambda: len(memory.family([program.pid])) == 2)
        assert os.getpid() not in memory.family([program.pid])
    finally:
        end(memory.family([program.pid]))
        program.wait()


def test_a_monitor_is_no_child_of_the_command_and_is_found(tmp_path: Path) -> None:
    """As conmon: it has left its parent, and the container is its child.

    The container's own child, which has called no execve(2), has its parent's command line."""
    (tmp_path / "monitor").write_text('sh -c "(sleep 60; :); : $MARK"; :')
    line = f"(sh {tmp_path}/monitor & echo $!); read _"
    command = subprocess.Popen(["sh", "-c", line], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               env=os.environ | {"MARK": "lc-odd-word"}, text=True)  # fmt: skip
    assert command.stdin and command.stdout
    monitor = int(command.stdout.readline())
    try:
        assert eventually(lambda: len(memory.family([monitor])) == 4)
        assert eventually(lambda: monitor not in memory.family([command.pid]))
        assert memory.monitors([command.pid], "lc-odd-word") == {monitor}
        assert memory.monitors([monitor], "lc-odd-word") == set(), "a child that is counted anyway"
    finally:
        end(memory.family([monitor]))
        command.communicate("\n")


@pytest.mark.requires("busybox")
def test_the_worker_measures_everything_in_its_unit(tmp_path: Path) -> None:
    code = measures.WORKER.read_text().replace("TURNS = 5", "TURNS = 1")
    words = [sys.executable, "-I", "-S", "-E", "-", str(tmp_path), str(tmp_path)]
    said = subprocess.run(words, input=code, capture_output=True, text=True, check=True).stdout
    found = json.loads(said)
    assert set(found) == set(dataset.MEASURES) - {"start"}
    assert all(value > 0 for value in found.values())
    assert list(tmp_path.iterdir()) == []


def test_a_subject_that_fails_is_out_and_the_others_go_on() -> None:
    plan = measures.Plan(runs=2, instances=(1,), names=("process", "UML"))
    going = measures.Run(plan)
    going.subjects = {"process": subjects.process(),
                      "UML": subjects.Command("UML", lambda argv: ["false"])}  # fmt: skip
    found: dataset.Samples = {}
    going._rounds("start", lambda subject: {"start": subject.start()}, found)
    assert len(found["start"]["process"]) == 2
    assert list(going.subjects) == ["process"] and "UML" in going.absent


def test_a_slow_machine_has_fewer_rounds_and_never_less_than_two() -> None:
    going = measures.Run(measures.Plan(runs=9, patience=0, names=("process",)))
    going.subjects = {"process": subjects.process()}
    found: dataset.Samples = {}
    going._rounds("start", lambda subject: {"start": subject.start()}, found)
    assert len(found["start"]["process"]) == measures.FEWEST


def run(*words: str) -> int:
    return main.main(["bench", *words])


def test_the_command_plots_and_compares_without_any_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.json").write_text(DATA.as_json())
    assert run("plot", str(tmp_path / "a.json"), "--out", str(tmp_path / "out")) == 0
    page = (tmp_path / "out/figures.md").read_text()
    assert "![One row for each of 2 subjects" in page
    assert (tmp_path / "out/memory.svg").exists()
    assert run("compare", str(tmp_path / "a.json")) == 0
    assert run("compare", "recorded", str(tmp_path / "a.json")) == 0
    said = capsys.readouterr().out
    assert "| System call (getppid) | vm | 7.00 [6.90, 7.20] | more |" in said
    assert "new over old" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("plot",), "takes 1 file"),
        (("compare", "a", "b", "c"), "takes 1 or 2 files"),
        (("run", "x"), "takes no files"),
        (("run", "--runs", "0"), "at least 1"),
        (("run", "--only", "vmware"), "no subject 'vmware'"),
    ],
)
def test_wrong_words_are_told(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) != 0
    assert said in capsys.readouterr().err
