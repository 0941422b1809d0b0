"""What every notebook holds: the course's rules that can be read from the file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labcontainer.lab import drafts, predict
from tests.notebooks.learner import NOTEBOOKS, code_cells

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
FIRST = "00_start_here"  # it runs the finished engine and builds nothing: COURSE gives it two
TEN = "19_breakouts"  # an exercise for each of its ten attacks
# What differs from run to run must not be in a stored output.
UNSTABLE = {
    "a namespace's inode": re.compile(r"\b(mnt|pid|uts|ipc|net|user|cgroup|time):\[\d+\]"),
    "an inode number": re.compile(r"\b40265\d{5}\b"),
    "a memory address": re.compile(r"\b0x[0-9a-f]{8,16}\b"),
    "a process directory": re.compile(r"/proc/\d{3,}"),
    "a PID": re.compile(r"\bpid[ =:]+\d{3,}", re.IGNORECASE),
    "a date": re.compile(r"\b20\d\d-\d\d-\d\d\b"),
    "a time of day": re.compile(r"\b\d\d:\d\d:\d\d\b"),
    "a temporary name": re.compile(r"labcontainer-(check|author)-\w+"),
}
# Drawings and hexadecimal constants of headers are no addresses.
NOT_READ = re.compile(r'src="data:[^"]*"')


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def prose(path: Path) -> str:
    return "\n".join(c.source for c in read(path).cells if c.cell_type == "markdown")


def code(path: Path) -> str:
    return "\n".join(cell.source for cell in code_cells(read(path)))


def outputs(path: Path) -> list[str]:
    """Every text that is stored as an output."""
    texts = []
    for cell in code_cells(read(path)):
        for output in cell.outputs:
            texts.append(output.get("text", ""))
            data = output.get("data", {})
            texts += [data.get("text/plain", ""), data.get("text/html", "")]
    return [NOT_READ.sub("", text) for text in texts if text]


def test_opens_as_the_course_wants(path: Path) -> None:
    first = read(path).cells[0]
    assert first.cell_type == "markdown"
    assert re.match(r"# \d\d · \w", first.source)
    assert re.search(r"\bT[012]\b", first.source), "names its tier"
    assert re.search(r"\d+ minutes", first.source), "says how long it takes"
    assert first.source.count("](#") >= 3, "has a table of contents"


def test_has_one_first_level_heading(path: Path) -> None:
    text = re.sub(r"```.*?```", "", prose(path), flags=re.DOTALL)
    assert len(re.findall(r"^# ", text, flags=re.MULTILINE)) == 1


def test_links_within_lead_somewhere(path: Path) -> None:
    text = prose(path)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    targets = set(re.findall(r'<a id="([^"]+)"', text)) | {h.replace(" ", "-") for h in headings}
    for link in re.findall(r"\]\(#([^)]+)\)", text):
        assert link in targets, link


def test_has_predictions_exercises_recap_and_the_real_thing(path: Path) -> None:
    source = code(path)
    assert source.count("lab.predict(") >= 2
    assert "lab.recap(" in source
    assert "lab.real_thing(" in source
    count = source.count("%%exercise ")
    assert (2 if path.stem == FIRST else 3) <= count <= (10 if path.stem == TEN else 8)
    if path.stem > "01":
        assert source.count("lab.recall(") >= 2, "two questions from earlier notebooks"


def test_no_cell_gives_an_answer_away(path: Path) -> None:
    """A prediction's words are in the questions' file: the cell holds its id alone."""
    asked = re.findall(r"lab\.predict\((.*)", code(path))
    topic = drafts.topic_of(path.stem)
    assert all(re.fullmatch(rf'"{topic}\.[a-z0-9-]+"\)', one) for one in asked), asked
    words = [one.split(".")[1].split('"')[0] for one in asked]
    assert sorted(words) == sorted(predict.catalogue(topic)), "asked, and in the file"


def test_a_prediction_is_readable_where_no_code_runs(path: Path) -> None:
    """GitHub and nbviewer show the stored outputs: question and choices, the rest folded."""
    for cell in code_cells(read(path)):
        if found := re.match(r'lab\.predict\("(.*)"\)', cell.source):
            asked = predict.find(found[1])
            data = cell.outputs[0]["data"]
            assert data["text/plain"] == predict.twin(asked).text
            assert all(f"<details><summary>{letter})" in data["text/html"]
                       for letter in predict.LETTERS[: len(asked.choices)])  # fmt: skip


def test_was_run_from_top_to_bottom(path: Path) -> None:
    counts = [cell.execution_count for cell in code_cells(read(path))]
    assert counts == list(range(1, len(counts) + 1))


def test_figures_have_words_and_a_table(path: Path) -> None:
    for output in outputs(path):
        for image in re.findall(r"<img[^>]*>", output):
            assert re.search(r'alt="[^"]{20,}"', image), image[:80]
        assert output.count("<img") <= output.count("the data as a table")
        assert "<svg" not in output, "an untrusted notebook shows no inline SVG: use lab.figure"
    assert all("image/png" not in o.get("data", {}) for c in code_cells(read(path))
               for o in c.outputs)  # fmt: skip


def test_outputs_hold_nothing_that_changes(path: Path) -> None:
    for output in outputs(path):
        for what, pattern in UNSTABLE.items():
            found = pattern.search(output)
            assert not found, f"{what}: {found[0]!r} in {output[:200]!r}"


def test_the_kernel_process_stays_whole(path: Path) -> None:
    """No call at a cell's top level that would change the notebook's own process."""
    for cell in code_cells(read(path)):
        for line in cell.source.splitlines():
            assert not re.match(
                r"(os\.(fork|chroot|setuid|unshare)|syscalls\.(unshare|mount|setns|pivot_root))\(",
                line,
            ), line


def test_ends_with_where_to_go_next(path: Path) -> None:
    assert re.search(r"lab\.recap\([\s\S]*next=", code(path))
