"""For authors: a notebook as text and back, and a run of it that stores its outputs.

    python -m labcontainer.lab.author unpack  notebooks/02_chroot.ipynb > 02.py
    python -m labcontainer.lab.author pack    02.py notebooks/02_chroot.ipynb
    python -m labcontainer.lab.author execute notebooks/02_chroot.ipynb

The text form is the "percent" format: `# %%` begins a code cell, `# %% [markdown]` a cell of words,
`# %% exercise chroot.enter` the cell of that exercise's hole, and `tags=a,b` sets tags. Questions
that a cell holds whole go to their own file, `lab/questions/chroot.toml`.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat

from labcontainer.lab import drafts, student
from labcontainer.lab.exercise import find

_MARK = re.compile(r"^# %%(?P<words>.*)$")
SECONDS_A_CELL = 60
# Calls whose source gives away what they ask, or says the same as what they show.
FOLDED = ("recall", "recap", "real_thing")


def unpack(notebook: Any) -> str:
    """A notebook as text."""
    return "\n\n".join(_cell_text(cell) for cell in notebook.cells) + "\n"


def _cell_text(cell: Any) -> str:
    tags = ",".join(cell.metadata.get("tags", []))
    tail = f" tags={tags}" if tags else ""
    if cell.cell_type == "markdown":
        return f"# %% [markdown]{tail}\n{cell.source}"
    if cell.source.startswith("%%exercise "):
        return f"# %% exercise {cell.source.split()[1]}{tail}"
    return f"# %%{tail}\n{cell.source}"


def pack(text: str) -> Any:
    """The notebook of a text: no outputs; the ids of its cells follow from what is in them."""
    notebook = nbformat.v4.new_notebook()
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    cells: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if mark := _MARK.match(line):
            cells.append((mark["words"], []))
        elif cells:
            cells[-1][1].append(line)
    used: set[str] = set()
    for words, lines in cells:
        cell = _cell(words, "\n".join(lines).strip("\n"))
        cell["id"] = _id(cell.source, used)
        notebook.cells.append(cell)
    return notebook


def _cell(words: str, source: str) -> Any:
    parts = words.split()
    tags = [tag for part in parts if part.startswith("tags=") for tag in part[5:].split(",")]
    if "[markdown]" in parts:
        cell = nbformat.v4.new_markdown_cell(source)
    elif "exercise" in parts:
        exercise = find(parts[parts.index("exercise") + 1])
        cell = nbformat.v4.new_code_cell(f"%%exercise {exercise.id}\n{exercise.hole.rstrip()}")
    else:
        cell = nbformat.v4.new_code_cell(source)
    if tags:
        cell.metadata["tags"] = tags
    return cell


def _id(source: str, used: set[str]) -> str:
    """A cell's id: the same text keeps it, so that a change of one cell is a small diff."""
    number = 0
    while True:
        digest = hashlib.sha256(f"{number}{source}".encode()).hexdigest()[:8]
        if digest not in used:
            used.add(digest)
            return digest
        number += 1


def environment(home: Path) -> dict[str, str]:
    """What a notebook is run with where its outputs are stored or compared."""
    return {
        "LABCONTAINER_HOME": str(home),
        "LABCONTAINER_SEED": student.COURSE_SEED,
        "LABCONTAINER_STATIC": "1",
        "IPYTHONDIR": str(home / ".ipython"),
        "PYTHONHASHSEED": "0",
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
    }


def execute(path: Path) -> float:
    """Run a notebook from its folder as a learner who has done nothing yet; store its outputs.

    Returns the seconds that it took.
    """
    import time

    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    drafts.move_questions(notebook, drafts.topic_of(path.stem))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    with tempfile.TemporaryDirectory(prefix="labcontainer-author-") as home:
        os.environ.update(environment(Path(home)))
        begun = time.monotonic()
        client = NotebookClient(notebook, timeout=SECONDS_A_CELL, kernel_name="python3",
                                resources={"metadata": {"path": str(path.parent)}},
                                record_timing=False)  # fmt: skip
        try:
            client.execute()
        finally:
            taken = time.monotonic() - begun
            _tidy(notebook)
            nbformat.write(notebook, path)
    return taken


def only_shows(source: str) -> bool:
    """Whether a cell is nothing but calls that a learner should not read before their output."""
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a cell magic
        return False
    calls = [getattr(node.value, "func", None) for node in body if isinstance(node, ast.Expr)]
    return len(calls) == len(body) > 0 and all(
        isinstance(call, ast.Attribute) and call.attr in FOLDED for call in calls
    )


def _is_more(output: Any, last: Any) -> bool:
    """Whether an output goes on with the stream of the one before it."""
    streams = output.output_type == last.output_type == "stream"
    return bool(streams and output.name == last.name)


def _tidy(notebook: Any) -> None:
    """Drop what differs from machine to machine and says nothing."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        folded = "folded" in cell.metadata.get("tags", []) or only_shows(cell.source)
        cell.metadata.pop("jupyter", None)
        if cell.cell_type == "code" and folded:
            cell.metadata["jupyter"] = {"source_hidden": True}
        merged: list[Any] = []
        for output in cell.get("outputs", []):
            last = merged[-1] if merged else None
            if last and _is_more(output, last):
                last.text += output.text  # how a stream is cut into messages is chance
            else:
                merged.append(output)
        if cell.cell_type == "code":
            cell.outputs = merged


def main(words: list[str]) -> int:
    """The three verbs."""
    match words:
        case ["unpack", source]:
            print(unpack(nbformat.read(source, as_version=4)), end="")
        case ["pack", source, target]:
            notebook = pack(Path(source).read_text())
            drafts.move_questions(notebook, drafts.topic_of(Path(target).stem))
            nbformat.write(notebook, target)
        case ["execute", *sources] if sources:
            for source in sources:
                print(f"{source}: {execute(Path(source)):.1f} s")
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
