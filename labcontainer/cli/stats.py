"""`labcontainer stats`: what containers use, as a table that renews itself."""

from __future__ import annotations

import sys
import threading

from labcontainer import errors
from labcontainer.cli import format as form
from labcontainer.client import api, daemon

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

    Row = dict[str, Any]

HEADERS = {
    "ID": "CONTAINER ID", "Container": "CONTAINER", "Name": "NAME", "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT", "MemPerc": "MEM %", "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
}  # fmt: skip
COLUMNS = "\t".join(f"{{{{.{name}}}}}" for name in HEADERS if name != "Container")


def configure(parser: ArgumentParser) -> None:
    """The words of `labcontainer stats`."""
    parser.add_argument("-a", "--all", action="store_true", help="those that do not run, too")
    form.add_options(parser)
    parser.add_argument("--no-stream", action="store_true", help="once, and end")
    parser.add_argument("--no-trunc", action="store_true", help="whole ids")
    parser.add_argument("containers", nargs="*", metavar="CONTAINER", help="default: all")


def run(args: Namespace) -> int:
    """Print what containers use, until interrupted."""
    client = daemon.client()
    names = args.containers
    if not names:
        names = [one["Id"] for one in client.get("/containers/json", all=args.all)]
    return show(client, names, args)


def show(client: api.Client, names: list[str], args: Namespace) -> int:
    """What these containers use, once or until interrupted."""
    try:
        return once(client, names, args) if args.no_stream else follow(client, names, args)
    except KeyboardInterrupt:
        return 130


def once(client: api.Client, names: list[str], args: Namespace) -> int:
    """One table. Each container is asked twice by the daemon, for processor time is a rate."""
    rows: dict[str, Row] = {}

    def ask(name: str) -> None:
        found = client.get(f"/containers/{name}/stats", stream="0")
        rows[name] = row(name, found, whole=args.no_trunc)

    _all(ask, names)
    if rows or not names:
        _print([rows[name] for name in names if name in rows], args)
    return 0 if len(rows) == len(names) else 1


def follow(client: api.Client, names: list[str], args: Namespace) -> int:
    """A table that is written anew with each second's figures."""
    rows: dict[str, Row] = {}
    changed = threading.Condition()

    def ask(name: str) -> None:
        for found in client.stream("GET", f"/containers/{name}/stats", stream="1"):
            with changed:
                rows[name] = row(name, found, whole=args.no_trunc)
                changed.notify()
        with changed:
            rows.pop(name, None)
            changed.notify()

    threads = [threading.Thread(target=_told, args=(ask, name), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        with changed:
            changed.wait(1)
            shown = [rows[name] for name in names if name in rows]
        if sys.stdout.isatty():
            print("\x1b[H\x1b[2J", end="")
        _print(shown, args)
    return 0


def _all(ask: Any, names: list[str]) -> None:
    threads = [threading.Thread(target=_told, args=(ask, name)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _told(ask: Any, name: str) -> None:
    try:
        ask(name)
    except errors.LabError as error:
        print(f"Error response from daemon: {error}", file=sys.stderr)


def _print(rows: list[Row], args: Namespace) -> None:
    print(
        form.listing(rows, headers=HEADERS, columns=COLUMNS, form=args.format), end="", flush=True
    )


def row(asked: str, found: Row, *, whole: bool = False) -> Row:
    """The figures of ContainerStats as the table has them."""
    memory = found.get("memory_stats") or {}
    used, limit = _used(memory), memory.get("limit") or 0
    networks = (found.get("networks") or {}).values()
    received = sum(one["rx_bytes"] for one in networks)
    sent = sum(one["tx_bytes"] for one in networks)
    read, written = _disks(found.get("blkio_stats") or {})
    percent = 100 * used / limit if limit else 0.0
    return {
        "ID": form.short(found.get("id", ""), whole),
        "Container": asked,
        "Name": found.get("name", "").lstrip("/"),
        "CPUPerc": f"{processor(found):.2f}%",
        "MemUsage": f"{form.binary_size(used)} / {form.binary_size(limit)}",
        "MemPerc": f"{percent:.2f}%",
        "NetIO": f"{_rough(received)} / {_rough(sent)}",
        "BlockIO": f"{_rough(read)} / {_rough(written)}",
        "PIDs": str((found.get("pids_stats") or {}).get("current", 0)),
    }


def _rough(count: int) -> str:
    return form.size(float(f"{count:.3g}"))


def _used(memory: Row) -> int:
    """Memory without the page cache that could be given back at once, as Docker counts."""
    usage, stats = int(memory.get("usage") or 0), memory.get("stats") or {}
    for name in ("total_inactive_file", "inactive_file"):
        if stats.get(name, usage) < usage:
            return usage - int(stats[name])
    return usage


def processor(found: Row) -> float:
    """Per cent of one processor, since the reading before."""
    now, before = found.get("cpu_stats") or {}, found.get("precpu_stats") or {}
    try:
        used = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
        system = now["system_cpu_usage"] - before["system_cpu_usage"]
    except KeyError:
        return 0.0
    processors = now.get("online_cpus") or len(now["cpu_usage"].get("percpu_usage") or []) or 1
    return float(used / system * processors * 100) if used > 0 and system > 0 else 0.0


def _disks(stats: Row) -> tuple[int, int]:
    read = written = 0
    for one in stats.get("io_service_bytes_recursive") or []:
        if one["op"].lower() == "read":
            read += one["value"]
        elif one["op"].lower() == "write":
            written += one["value"]
    return read, written
