"""Checking an answer: what can be said of it at once, then the check in a process of its own.

    judge ── the check's text, the learner's code ──▶ lab.trial, in a sandbox ── outcome ──▶ judge

The process that runs the learner's code is forked from the one that runs the check. So that one is
given the text of the check alone, with what the check refers to: neither the solution nor the wrong
answers nor the hints are in its memory, and it has not read the exercise's file.
"""

from __future__ import annotations

import ast
import json
import os
import secrets
import sys

from labcontainer.kernel import files
from labcontainer.lab import shipping, student, where
from labcontainer.lab.exercise import (
    NOT_ATTEMPTED,
    NOT_CHECKED,
    Exercise,
    Outcome,
    by_instructor,
    not_yet,
)

# --- what every exercise has in common ----------------------------------------------------------


def look_first(exercise: Exercise, code: str) -> Outcome | None:
    """What can be said without running the code; None if it can be run."""
    if exercise.untouched(code):
        return Outcome(NOT_ATTEMPTED)
    try:
        tree = ast.parse(code)
    except SyntaxError as error:
        return not_yet(
            expected="Python that can be read",
            observed=f"{type(error).__name__}: {error.msg}",
            where=f"line {error.lineno} of the cell",
            hint="Python stops reading there; the cause is there or just before it.",
        )
    return _hole_left(tree) or _not_a_definition(tree) or _names_missing(exercise, tree)


def _hole_left(tree: ast.Module) -> Outcome | None:
    subscripted = [node for node in ast.walk(tree) if isinstance(node, ast.Subscript)]
    subscripts = {id(part) for node in subscripted for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value is ... and id(node) not in subscripts:
            return not_yet(
                expected="every `...` replaced",
                observed="one is left",
                where=f"line {node.lineno} of the cell",
                hint="Fill that hole too, or go back with lab.reset.",
            )
    return None


def _not_a_definition(tree: ast.Module) -> Outcome | None:
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    for node in tree.body:
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not (text or isinstance(node, kinds)):
            return not_yet(
                expected="imports, definitions and assignments only",
                observed=ast.unparse(node).splitlines()[0],
                where=f"line {node.lineno} of the cell",
                hint="The check calls your function itself. Try things out in a cell of their own.",
            )
    return None


def _names_missing(exercise: Exercise, tree: ast.Module) -> Outcome | None:
    given = {getattr(node, "name", "") for node in tree.body}
    for node in tree.body:
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        given |= {n.id for t in targets if t for n in ast.walk(t) if isinstance(n, ast.Name)}
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            given |= {alias.asname or alias.name for alias in node.names}
    for name in exercise.bound:
        if name not in given:
            return not_yet(
                expected=f"the cell defines `{name}`",
                observed=", ".join(sorted(given - {""})) or "nothing",
                where="the name after def",
                hint=f"Keep the name `{name}`; the check and later cells call it.",
            )
    return None


# --- the check's process ------------------------------------------------------------------------


def judge(exercise: Exercise, code: str) -> Outcome:
    """Check a learner's code in a fresh, sandboxed process; leaves nothing behind."""
    if early := look_first(exercise, code):
        return early
    if exercise.__dict__["check"] == by_instructor:
        return by_instructor()
    from labcontainer.lab import doctor

    for fact in exercise.needs:
        ok, reason = doctor.probe(fact)
        if not ok:
            return Outcome(NOT_CHECKED, text=f"{fact}: {reason}")
    group = f"labcontainer/check-{secrets.token_hex(6)}"
    try:
        return _judge_apart(exercise, code, group)
    finally:
        if where.current() == where.UML and exercise.writes:
            where.run([sys.executable, "-m", "labcontainer.lab.judge", group])
        else:
            remove_groups(group)


ODD_VALUES = ("TypeError", "AttributeError", "ValueError", "KeyError", "IndexError")


def check_of(exercise: Exercise) -> dict[str, object]:
    """All that the check's process learns about an exercise."""
    text, name = shipping.source_of(exercise.__dict__["check"])
    return {
        "id": exercise.id,
        "check": f"from __future__ import annotations\n{text}",
        "check_name": name,
        "writes": exercise.writes,
        "errors": exercise.errors,
    }


def _judge_apart(exercise: Exercise, code: str, group: str) -> Outcome:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="labcontainer-check-") as room:
        order = {
            **check_of(exercise),
            "code": code,
            "room": room,
            "group": group,
            "seed": student.seed(),
        }
        line = [sys.executable, "-m", "labcontainer.lab.trial", str(where.parent())]
        given = json.dumps(order).encode()
        limit = where.patience(exercise.seconds)
        ended = where.run(line, input=given, timeout=limit)
    if ended.late:
        return not_yet(
            expected=f"an answer within {limit:.0f} s",
            observed="the check was still waiting",
            where="a loop, or a wait for something that never comes",
            hint="Which call blocks? What would wake it?",
        )
    try:
        return Outcome(**json.loads(ended.output.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        return broken_off(ended.error.decode(errors="replace").strip())


def broken_off(said: str) -> Outcome:
    """A check that did not come to its end: mostly since what came back is of another kind."""
    reason = (said.splitlines() or ["no word"])[-1]
    if reason.startswith(ODD_VALUES):
        return not_yet(
            expected="a value of the kind that the `def` line promises",
            observed=f"the check can't use what it got: {reason}",
            where="what you return",
            hint="A list, a text, a pair, a number? The `def` line says it, behind the arrow.",
        )
    return not_yet(
        expected="the check comes to an end",
        observed=f"its process ended early: {reason}",
        where="a kill or exit that reached more than your own process",
    )


def remove_groups(group: str) -> None:
    """Remove the cgroups that a check made under its own name, deepest first."""
    for mount in _cgroup_mounts():
        top = os.path.join(mount, group)
        for folder, _, _ in os.walk(top, topdown=False):
            for fact in ("cgroup.kill",):
                if os.path.exists(os.path.join(folder, fact)):
                    files.write(os.path.join(folder, fact), "1")
            _remove_group(folder)
        try:
            if os.path.isdir(os.path.dirname(top)):
                os.rmdir(os.path.dirname(top))
        except OSError:
            pass  # others have groups in labcontainer/ too


def _remove_group(folder: str) -> None:
    """rmdir of a cgroup; killed processes need a moment to leave it."""
    import time

    for _ in range(50):
        try:
            os.rmdir(folder)
            return
        except OSError:
            time.sleep(0.02)


def _cgroup_mounts() -> list[str]:
    rows = [line.split() for line in files.read("/proc/self/mounts").splitlines()]
    return [row[1] for row in rows if row[2] in ("cgroup", "cgroup2")]


if __name__ == "__main__":
    remove_groups(sys.argv[1])
