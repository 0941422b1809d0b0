"""What a test run could leave behind on the machine, read from the kernel and compared.

before = machine.look(); ...; machine.difference(before, machine.look(), kinds)
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

# Every process of a test run inherits this variable, so that an orphan can be told from a stranger.
MARK = "LABCONTAINER_TEST_RUN"

OURS = ("/run/labcontainer*", "/tmp/labcontainer*", "/tmp/lc-*", "/dev/shm/lc-*")
SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv4/conf/all/route_localnet",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
    "kernel/hostname",
    "kernel/domainname",
    "user/max_user_namespaces",
)
Facts = dict[str, set[str]]


def look() -> Facts:
    """All kinds of things, by kind; each thing is one readable line."""
    return {
        "mounts": set(mounts()),
        "descriptors": set(namespace_descriptors()),
        "processes": set(processes()),
        "cgroups": set(cgroups()),
        "links": set(links()),
        "rules": set(rules()),
        "files": set(files()),
        "settings": set(settings()),
    }


def mounts() -> Iterator[str]:
    """Mounts of this mount namespace; one of nsfs keeps a namespace alive."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        yield f"{after.split()[0]} on {fields[4]} ({fields[3]})"


def namespace_descriptors() -> Iterator[str]:
    """Open descriptors of this process that keep a namespace or a process's name alive."""
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if re.match(r"(mnt|net|pid|user|uts|ipc|cgroup|time)(_for_children)?:\[", target):
            yield f"descriptor {fd} -> {target}"


def processes() -> Iterator[str]:
    """Living processes of this run other than this one and those that it came from."""
    mark = f"{MARK}={os.environ.get(MARK, '')}".encode()
    above = set(_ancestors(os.getpid()))
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in above:
            continue
        try:
            marked = mark in Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
            words = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if marked:
            yield f"process {name}: {words.strip()[:120]}"


def _ancestors(pid: int) -> Iterator[int]:
    while pid:
        yield pid
        stat = Path(f"/proc/{pid}/stat").read_text()
        pid = int(stat.rpartition(")")[2].split()[1])


def cgroups() -> Iterator[str]:
    """Every group of every hierarchy."""
    for folder, names, _ in os.walk("/sys/fs/cgroup"):
        for name in names:
            yield f"{folder}/{name}"


def links() -> Iterator[str]:
    """Network interfaces of this network namespace, and its named namespaces."""
    for link in json.loads(_output("ip", "-j", "link") or "[]"):
        yield f"link {link['ifname']}"
    for name in _names("/run/netns"):
        yield f"network namespace {name}"


def rules() -> Iterator[str]:
    """Firewall rules, without their counters and handles."""
    for command in (("nft", "list", "ruleset"), ("iptables-save",), ("ip6tables-save",)):
        for line in (_output(*command) or "").splitlines():
            line = re.sub(r"counter packets \d+ bytes \d+|\[\d+:\d+\]", "", line).strip()
            if line and not line.startswith("#"):
                yield f"{command[0]}: {line}"


def files() -> Iterator[str]:
    """Files of ours; a lock file and the folders that hold containers may stay."""
    parents = [*OURS, f"{os.environ.get('XDG_RUNTIME_DIR', '/nonexistent')}/labcontainer*"]
    for pattern in parents:
        for top in sorted(Path("/").glob(pattern.lstrip("/"))):
            yield from _below(top)


def _below(top: Path) -> Iterator[str]:
    if top.is_dir() and not top.is_symlink():
        for folder, names, leaves in os.walk(top):
            deep = Path(folder, "x").relative_to(top).parts
            yield from (f"{folder}/{name}" for name in names if len(deep) > 1)
            yield from (f"{folder}/{name}" for name in leaves if not name.endswith(".lock"))
        if str(top).startswith(("/tmp/", "/dev/shm/")):
            yield str(top)
    else:
        yield str(top)


def settings() -> Iterator[str]:
    """Host-wide settings that the package may change for a while."""
    for name in SYSCTLS:
        try:
            yield f"{name} = {Path('/proc/sys', name).read_text().strip()}"
        except OSError:
            continue


def difference(before: Facts, after: Facts, kinds: Iterable[str]) -> list[str]:
    """Lines of a diff: what is there now and was not (+), what was and is not (-)."""
    lines = []
    for kind in kinds:
        gone = () if kind in ("processes", "descriptors") else before[kind] - after[kind]
        lines += [f"  + {line}" for line in sorted(after[kind] - before[kind])]
        lines += [f"  - {line}" for line in sorted(gone)]
    return lines


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _output(*argv: str) -> str | None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
