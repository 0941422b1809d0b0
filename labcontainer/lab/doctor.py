"""What this kernel and this user can do: `probe(name)`, a report, and the tier that follows.

Nothing is taken from a version or a file's presence: every probe does the thing in a process of
its own (`lab.probes`). Every no names its cause and a fix. Answers are kept for this process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence

from labcontainer.errors import LabError, UsageError
from labcontainer.lab import where
from labcontainer.lab.cards import Card, inline
from labcontainer.record import Record

# (heading, probes): the order of the report.
GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("You", ("root", "userns", "apparmor-userns", "newuidmap", "cap-sys-resource")),
    ("Namespaces and mounts", ("sandbox", "mount", "overlay", "overlay-userns", "idmapped-mounts",
                               "mount-api", "timens")),
    ("Limits", ("cgroup-v1", "cgroup-v2", "cgroup-write")),
    ("Guards", ("seccomp", "landlock")),
    ("Network", ("netns", "bridge", "nft", "ipv6", "slirp4netns", "pasta")),
    ("Kernel calls", ("openat2", "clone3", "pidfd")),
    ("Virtual machines", ("uml", "qemu", "kvm", "vm-kernel")),
    ("Programs", ("busybox", "strace", "bwrap", "runc", "crun", "podman", "containerd", "dockerd",
                  "docker-cli", "chromium")),
)  # fmt: skip
NAMES = tuple(name for _, names in GROUPS for name in names)
MACHINES = ("uml", "qemu", "kvm", "vm-kernel")  # what this machine can boot; never asked of a guest

# tier: what it is, the facts that make it. COURSE: a notebook names the tier that it needs.
TIERS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("T0", "plain Python", ()),
    ("T1", "user namespaces", ("sandbox", "mount")),
    ("T2", "root", ("root", "mount", "cgroup-write")),
    ("TU", "the user-mode kernel", ("uml",)),
    ("T4", "QEMU", ("qemu", "vm-kernel")),
)


class Finding(Record):
    """One row of the report."""

    name: str
    ok: bool
    detail: str = ""
    cause: str = ""
    fix: str = ""

    @property
    def reason(self) -> str:
        """The detail of a yes; cause and fix of a no, in one line."""
        if self.ok:
            return self.detail
        return f"{self.cause}; fix: {self.fix}" if self.fix else self.cause


_known: dict[str, Finding] = {}


def examine(names: Sequence[str]) -> list[Finding]:
    """Findings of these names; what is not known yet is probed, all in one process."""
    for name in names:
        if name not in NAMES:
            raise UsageError(f"the doctor knows no {name!r}; it knows {', '.join(NAMES)}")
    unknown = [name for name in names if name not in _known]
    machines = [name for name in unknown if name in MACHINES]
    if machines and where.current() == where.UML:
        unknown = [name for name in unknown if name not in MACHINES]
        _probe(machines, _run_here)
    if unknown:
        _probe(unknown, where.run)
    return [_known[name] for name in names]


def forget() -> None:
    """Ask everything again: the place where lessons run has changed."""
    _known.clear()


def _run_here(argv: Sequence[str]) -> where.Ended:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return where.Ended(done.returncode, done.stdout, done.stderr)


def _probe(names: list[str], run: Callable[[Sequence[str]], where.Ended]) -> None:
    parent = os.getpid() if run is _run_here else where.parent()
    ended = run([sys.executable, "-m", "labcontainer.lab.probes", str(parent), *names])
    for row in ended.output.decode().splitlines():
        found = Finding(**json.loads(row))
        _known[found.name] = found
    missing = [name for name in names if name not in _known]
    if missing:
        said = (ended.error.decode(errors="replace").strip().splitlines() or ["no word"])[-1]
        raise LabError(f"the doctor's process ended at {missing[0]}: {said}")


def probe(name: str) -> tuple[bool, str]:
    """Whether one thing works here, and the reason: (ok, detail or "cause; fix: …")."""
    found = examine([name])[0]
    return found.ok, found.reason


def report() -> list[Finding]:
    """All findings, in the report's order."""
    return examine(NAMES)


def tiers() -> dict[str, Finding]:
    """Which tiers are possible here; a no has the cause of the first fact that is missing."""
    found = {}
    for tier, what, facts in TIERS:
        bad = next((row for row in examine(facts) if not row.ok), None)
        if bad is None:
            found[tier] = Finding(tier, True, detail=what)
        else:
            found[tier] = Finding(tier, False, cause=f"{bad.name}: {bad.cause}", fix=bad.fix)
    return found


def best_tier() -> str:
    """T2 where you are root, else T1, else T0; quick: asks three facts."""
    for tier, _, facts in TIERS[2:0:-1]:
        if all(row.ok for row in examine(facts)):
            return tier
    return "T0"


def tier_sentence() -> str:
    """One line for the head of a notebook."""
    tier = best_tier()
    what = next(what for name, what, _ in TIERS if name == tier)
    if where.current() == where.UML:
        return f"TU, {what} in the user-mode kernel"
    if tier != "T0":
        return f"{tier}, {what}"
    row = examine(["sandbox"])[0]
    return f"T0, {what} only ({row.reason})"


# --- the report for people ----------------------------------------------------------------------


def as_text(width: int = 100) -> str:
    """The report for a terminal."""
    lines = []
    for heading, names in GROUPS:
        lines.append(f"\n{heading}")
        for row in examine(names):
            lines += _row_text(row, width)
    lines.append("\nTiers of the course")
    for row in tiers().values():
        lines += _row_text(row, width)
    return "\n".join(lines).lstrip("\n")


def _row_text(row: Finding, width: int) -> list[str]:
    head = f"  {'yes' if row.ok else 'NO ':3} {row.name:17} "
    words = row.detail if row.ok else row.cause
    body = textwrap.wrap(words, width - len(head)) or [""]
    lines = [head + body[0], *[" " * len(head) + more for more in body[1:]]]
    if row.fix:
        fix = textwrap.wrap(f"fix: {row.fix}", width - len(head), break_on_hyphens=False)
        lines += [" " * len(head) + more for more in fix]
    return [line.rstrip() for line in lines]


def as_json() -> str:
    """The report for programs."""
    document = {
        "facts": {row.name: row.as_dict() for row in report()},
        "tiers": {tier: row.as_dict() for tier, row in tiers().items()},
    }
    return json.dumps(document, indent=1)


def table(*names: str) -> Card:
    """The report, or these facts of it, for a notebook."""
    rows = []
    for heading, members in GROUPS:
        chosen = [name for name in members if not names or name in names]
        if chosen and not names:
            rows.append(f'<tr><th colspan="3" style="text-align: left">{heading}</th></tr>')
        rows += [_row_html(row) for row in examine(chosen)]
    text = "\n".join(line for row in examine(names) for line in _row_text(row, 96))
    return Card(f'<table class="lc-doctor">{"".join(rows)}</table>', text if names else as_text())


def _row_html(row: Finding) -> str:
    sign = "✓ yes" if row.ok else "✗ no"
    words = inline(row.detail if row.ok else row.cause)
    fix = f"<br><b>fix:</b> {inline(row.fix)}" if row.fix else ""
    cells = (f"<code>{row.name}</code>", sign, words + fix)
    return "<tr>" + "".join(f'<td style="text-align: left">{c}</td>' for c in cells) + "</tr>"
