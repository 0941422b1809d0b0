"""Statistics with known answers, turns that are fair, and the report."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from labcontainer.bench import builds, report, runtimes, samples, unpack
from labcontainer.build import dockerfile, graph


@pytest.mark.parametrize(
    ("share", "expected"), [(0, 1.0), (0.5, 2.5), (1, 4.0), (0.25, 1.75), (1 / 3, 2.0)]
)
def test_quantiles_are_linear_between_neighbours(share: float, expected: float) -> None:
    assert samples.quantile([4, 1, 3, 2], share) == pytest.approx(expected)


def test_no_samples_have_no_quantile() -> None:
    with pytest.raises(ValueError, match="no samples"):
        samples.quantile([], 0.5)


def test_equal_samples_have_no_spread() -> None:
    assert samples.median_interval([3.0] * 9) == samples.Interval(3.0, 3.0, 3.0)


def test_the_interval_holds_the_median_and_lies_in_the_range() -> None:
    found = samples.median_interval([float(one) for one in range(1, 102)])
    assert found.value == 51
    # the binomial interval of the median of 101 values: ranks 41 to 61
    assert found.low == pytest.approx(41, abs=2) and found.high == pytest.approx(61, abs=2)


def test_a_slow_moment_of_all_leaves_the_ratio() -> None:
    base = [1.0, 2.0, 8.0, 1.5, 3.0, 1.0, 2.5]
    found = samples.ratio_interval([one / 2 for one in base], base)
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


def test_ratios_need_the_same_rounds() -> None:
    with pytest.raises(ValueError, match="not the same rounds"):
        samples.ratio_interval([1.0], [1.0, 2.0])


def test_subjects_take_turns_and_warm_up_is_not_counted() -> None:
    calls: list[str] = []
    subjects = {name: (lambda name=name: calls.append(name)) for name in "abc"}
    taken = samples.interleave(subjects, runs=4, warm_up=1)
    assert {name: len(one) for name, one in taken.items()} == {"a": 4, "b": 4, "c": 4}
    assert Counter(calls) == {"a": 5, "b": 5, "c": 5}
    assert all(set(calls[at : at + 3]) == set("abc") for at in range(0, 15, 3))
    assert len({tuple(calls[at : at + 3]) for at in range(0, 15, 3)}) > 1


def test_processor_time_is_that_of_the_children() -> None:
    burn = [sys.executable, "-c", "for _ in range(2_000_000): pass"]
    assert samples.processor_time(lambda: subprocess.run(burn, check=True)) > 0.02
    assert samples.processor_time(lambda: time.sleep(0.05)) == 0


def test_all_unpack_the_same_layer(tmp_path: Path) -> None:
    packed = unpack.layer(tmp_path, files=40)
    found = set()
    for action in unpack.subjects(tmp_path, packed).values():
        action()
        files = sorted(path for path in (tmp_path / "unpacked").rglob("*") if path.is_file())
        found.add((len(files), b"".join(path.read_bytes() for path in files)))
    ((count, _),) = found
    assert count == 40


def test_the_table_is_in_milliseconds_and_relative_to_runc() -> None:
    rows = report.rows("run", {"runc": [0.030] * 5, "labcontainer": [0.015] * 5})
    text = report.table(rows)
    assert "| run | labcontainer | 5 | 15.0 | 15.00 [15.00, 15.00] | 0.50 [0.50, 0.50] |" in text


def test_without_the_base_there_is_no_ratio() -> None:
    assert report.table(report.rows("run", {"crun": [1.0, 1.0]})).endswith("| - |")


def test_the_json_keeps_every_sample() -> None:
    text = report.as_json({"kernel": "6"}, {"run": {"runc": [0.1, 0.2]}})
    assert json.loads(text)["samples"] == {"run": {"runc": [0.1, 0.2]}}


def test_the_configuration_is_of_a_whole_container() -> None:
    document = runtimes.configuration([], [])
    linux = document["linux"]
    assert isinstance(linux, dict)
    kinds = {one["type"] for one in linux["namespaces"]}
    assert kinds == {"pid", "mount", "ipc", "uts", "network"}


def test_the_build_has_ten_steps_and_its_files(tmp_path: Path) -> None:
    top = builds.context(tmp_path)
    (stage,) = graph.draw_up(dockerfile.parse((top / "Dockerfile").read_bytes())).stages
    assert 1 + len(stage.steps) == 10
    assert len(list((top / "many").iterdir())) == builds.FILES
