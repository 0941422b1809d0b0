"""Packet rules: one table of our own in the kernel's netfilter, replaced as a whole.

A `Rule` is what it says, in neither of the two languages that netfilter is spoken to in. `render`
writes it in both: nft's (by libnftables, else the `nft` command), and that of iptables for kernels
whose nftables have no NAT. Each is one transaction: all the rules are there, or none. nft(8),
iptables-extensions(8).
"""

from __future__ import annotations

import ctypes
import os

from labcontainer.errors import UnsupportedError
from labcontainer.kernel import files, trace
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

# A packet's way through the kernel: prerouting, then (routing) forward or input, then postrouting;
# what the host itself sends passes output, then postrouting. Where each of our chains hangs:
# its name, nft's base chain, iptables' table and built-in chain.
CHAINS = {
    "raw": ("type filter hook prerouting priority -300", "raw", "PREROUTING"),
    "prerouting": ("type nat hook prerouting priority -100", "nat", "PREROUTING"),
    "output": ("type nat hook output priority -100", "nat", "OUTPUT"),
    "postrouting": ("type nat hook postrouting priority 100", "nat", "POSTROUTING"),
    "forward": ("type filter hook forward priority 0", "filter", "FORWARD"),
}


class Rule(Record):
    """If a packet in `chain` fits all that is given, then `verdict`. A `!` in front turns a fit."""

    chain: str
    verdict: str  # accept, drop, masquerade, or "dnat ADDRESS[:PORT]"
    in_link: str = ""
    out_link: str = ""
    source: str = ""  # an address or a subnet
    destination: str = ""
    state: str = ""  # established (or related), dnat (its destination was rewritten)
    local: bool = False  # the destination is an address of this host
    protocol: str = ""
    port: int = 0  # the destination port


# Each field in nft's words and in iptables'; {n} is the "not", {f} the family.
_MATCHES = (
    ("in_link", 'iifname {n}"{value}"', "{n}-i {value}"),
    ("out_link", 'oifname {n}"{value}"', "{n}-o {value}"),
    ("source", "{f} saddr {n}{value}", "{n}-s {value}"),
    ("destination", "{f} daddr {n}{value}", "{n}-d {value}"),
    ("local", "fib daddr type local", "-m addrtype --dst-type LOCAL"),
    ("protocol", "{value}", "-p {value}"),
    ("port", "dport {n}{value}", "--dport {value}"),
)
_STATES = {
    "established": ("ct state established,related", "-m conntrack --ctstate ESTABLISHED,RELATED"),
    "dnat": ("ct status dnat", "-m conntrack --ctstate DNAT"),
}


def families(rules: Iterable[Rule]) -> tuple[str, ...]:
    """`ip`, and `ip6` where a rule names an IPv6 address."""
    return ("ip", "ip6") if any(_family(rule) == "ip6" for rule in rules) else ("ip",)


def _family(rule: Rule) -> str:
    """The family that a rule is of: that of its addresses; "" for a rule of both."""
    words = [rule.source, rule.destination, *rule.verdict.split()[1:]]
    if any(word.startswith("[") or word.count(":") > 1 for word in words):
        return "ip6"
    return "ip" if any(words) else ""


def _matches(rule: Rule, family: str, column: int) -> list[str]:
    shown = []
    for name, *dialects in _MATCHES:
        value = getattr(rule, name)
        if not value:
            continue
        inverted = isinstance(value, str) and value[0] == "!"
        sign = ("!= ", "! ")[column] if inverted else ""
        value = value[1:] if inverted else value
        shown.append(dialects[column].format(value=value, n=sign, f=family))
    return [*shown, _STATES[rule.state][column]] if rule.state else shown


def in_nft(rule: Rule, family: str = "ip") -> str:
    """The rule in nft's language."""
    verdict = rule.verdict.replace("dnat ", "dnat to ")
    return " ".join([*_matches(rule, family, 0), verdict])


def in_iptables(rule: Rule, chain: str, family: str = "ip") -> str:
    """The rule in the language of iptables, for a chain of this name."""
    verdict, _, to = rule.verdict.partition(" ")
    target = f"-j {verdict.upper()}" + (f" --to-destination {to}" if to else "")
    return " ".join([f"-A {chain}", *_matches(rule, family, 1), target])


def render_nft(table: str, rules: Sequence[Rule]) -> str:
    """The text that makes `table` hold these rules and nothing else, in one transaction."""
    lines = []
    for family in ("ip", "ip6"):
        # To declare first makes that the delete cannot fail: that idiom is nft(8)'s own.
        lines += [f"table {family} {table}", f"delete table {family} {table}"]
    for family in families(rules) if rules else ():
        lines.append(f"table {family} {table} {{")
        for chain, (base, _table, _built_in) in CHAINS.items():
            own = [r for r in rules if r.chain == chain and _family(r) in ("", family)]
            if own:
                lines += [f"  chain {chain} {{", f"    {base}; policy accept;"]
                lines += [f"    {in_nft(rule, family)}" for rule in own]
                lines.append("  }")
        lines.append("}")
    return "\n".join(lines) + "\n"


def render_iptables(table: str, rules: Sequence[Rule], family: str) -> str:
    """The same for iptables-restore: user chains of our own; `_jump` leads into them."""
    lines = []
    for target in ("raw", "nat", "filter"):
        chains = [name for name, (_base, owner, _built_in) in CHAINS.items() if owner == target]
        lines += [f"*{target}", *(f":{_chain(table, name)} - [0:0]" for name in chains)]
        for rule in rules:
            if rule.chain in chains and _family(rule) in ("", family):
                lines.append(in_iptables(rule, _chain(table, rule.chain), family))
        lines.append("COMMIT")
    return "\n".join(lines) + "\n"


def _chain(table: str, name: str) -> str:
    return f"{table[:16]}-{name}".upper()  # a chain's name has at most 28 letters


# --- the kernel ---------------------------------------------------------------------------------

_state: dict[str, Any] = {}  # the library's handle and the language this kernel was found to speak


def replace(table: str, rules: Sequence[Rule]) -> None:
    """Make our table hold these rules and nothing else.

    Raises:
        UnsupportedError: neither language is spoken here; says what each answered.
        OSError: the kernel or the tool refused; it shows the rule.
    """
    if _state.get("language") == "iptables":
        return _replace_iptables(table, rules)
    try:
        nft(render_nft(table, rules))
    except (OSError, UnsupportedError) as refused:
        if _find("iptables-restore") is None or not rules:
            raise
        try:
            _replace_iptables(table, rules)
        except OSError as second:
            fix = "load the kernel modules nf_tables, nft_chain_nat, nft_masq"
            why = f"nft: {refused}; iptables: {second}"
            raise UnsupportedError("NAT rules", why, fix) from None
        _state["language"] = "iptables"
    return None


def delete(table: str) -> None:
    """Remove our table and all its rules; fine if there is none."""
    if _state.get("language") == "iptables" or _iptables_tables("ip"):
        _delete_iptables(table)
    if _state.get("language") != "iptables":
        try:
            replace(table, ())
        except UnsupportedError:
            pass  # without nft there is no table of nft's
        except OSError as error:
            if error.errno not in (93, 95):  # EPROTONOSUPPORT, EOPNOTSUPP: no such tables at all
                raise


def listing(table: str) -> str:
    """The rules that the kernel holds in our table, as the tool prints them; "" if none."""
    if _state.get("language") == "iptables":
        lines = _run([_iptables("ip", "-save")]).splitlines()
        return "\n".join(line for line in lines if _chain(table, "") in line)
    text = ""
    for family in ("ip", "ip6"):
        try:
            text += nft(f"list table {family} {table}\n")
        except OSError as error:
            if error.errno not in (2, 93, 95):
                raise
    return text


def nft(text: str) -> str:
    """Run nft commands as one transaction, in this network namespace; what they print.

    Raises:
        UnsupportedError: neither libnftables nor the `nft` command is here.
        OSError: refused; shows the tool's own words.
    """
    library = _state["library"] if "library" in _state else _load()
    try:
        output = (
            _nft_by_library(library, text) if library else _run([_nft_command(), "-f", "-"], text)
        )
    except OSError as error:
        if trace.watchers:
            trace.publish("nft", f"nft({text.strip()!r})", error)
        raise
    if trace.watchers:
        trace.publish("nft", f"nft({text.strip()!r})", 0)
    return output


def _load() -> Any:
    """libnftables with its prototypes, libnftables(3); None where it is not installed."""
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError:
        _state["library"] = None
        return None
    context, text = ctypes.c_void_p, ctypes.c_char_p
    for name, result, arguments in (
        ("nft_ctx_new", context, (ctypes.c_uint32,)),
        ("nft_ctx_free", None, (context,)),
        ("nft_ctx_buffer_output", ctypes.c_int, (context,)),
        ("nft_ctx_buffer_error", ctypes.c_int, (context,)),
        ("nft_ctx_get_output_buffer", text, (context,)),
        ("nft_ctx_get_error_buffer", text, (context,)),
        ("nft_run_cmd_from_buffer", ctypes.c_int, (context, text)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    _state["library"] = library
    return library


def _nft_by_library(library: Any, text: str) -> str:
    # A context holds a socket, and with it the network namespace of the moment: a new one a call.
    context = library.nft_ctx_new(0)
    if not context:
        raise OSError(1, os.strerror(1), "nft_ctx_new()")
    try:
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        if library.nft_run_cmd_from_buffer(context, text.encode()) != 0:
            raise _refused("nft", library.nft_ctx_get_error_buffer(context).decode())
        return str(library.nft_ctx_get_output_buffer(context).decode())
    finally:
        library.nft_ctx_free(context)


def _refused(tool: str, said: str) -> OSError:
    """An error with the number that the tool's words stand for."""
    lines = [line for line in said.splitlines() if line.strip(" ^~")] or ["no reason given"]
    places = {said.find(os.strerror(n)): n for n in (1, 2, 16, 17, 22, 93, 95)}
    code = min((at, n) for at, n in [*places.items(), (len(said), 22)] if at >= 0)[1]
    return OSError(
        code, os.strerror(code), f"{tool}: " + " | ".join(line.strip() for line in lines[:2])
    )


# --- iptables -----------------------------------------------------------------------------------


def _replace_iptables(table: str, rules: Sequence[Rule]) -> None:
    for family in families(rules):
        _run(
            [_iptables(family, "-restore"), "-w", "--noflush"],
            render_iptables(table, rules, family),
        )
        for chain, (_base, owner, built_in) in CHAINS.items():
            jump = [built_in, "-j", _chain(table, chain)]
            _insert([_iptables(family), "-w", "-t", owner], jump)


def _delete_iptables(table: str) -> None:
    for family in ("ip", "ip6"):
        if not _iptables_tables(family):
            continue
        for chain, (_base, owner, built_in) in CHAINS.items():
            tool, own = [_iptables(family), "-w", "-t", owner], _chain(table, chain)
            for words in (["-D", built_in, "-j", own], ["-F", own], ["-X", own]):
                try:
                    _run([*tool, *words])
                except OSError:
                    pass  # not there


def _insert(tool: list[str], rule: list[str]) -> None:
    """Put a rule first in its chain, unless the chain has it."""
    try:
        _run([*tool, "-C", *rule])
    except OSError:
        _run([*tool, "-I", *rule])


def _iptables_tables(family: str) -> str:
    """The tables that the old iptables has in use; to ask the tool itself would create them."""
    path = f"/proc/net/{family}_tables_names"
    try:
        return files.read(path) if files.exists(path) and _find("iptables-restore") else ""
    except OSError:
        return ""


def _iptables(family: str, suffix: str = "") -> str:
    """The tool for the old tables: where both kinds are installed it has `-legacy` in its name."""
    stem = {"ip": "iptables", "ip6": "ip6tables"}[family]
    found = _find(f"{stem}-legacy{suffix}") or _find(f"{stem}{suffix}")
    if found is None:
        raise UnsupportedError(stem, "the command is not installed", "install the package iptables")
    return found


# --- other people's rules -----------------------------------------------------------------------


def forwarding_gates() -> list[tuple[str, str]]:
    """Chains of others that drop what is forwarded: (command, chain) where an accept must go.

    Docker, ufw and many admins set iptables' FORWARD policy to DROP. In nftables an accept ends
    only the chain it stands in: every other base chain on the hook is asked too, so an accept of
    ours does not help against their drop, and one of ours has to stand in *their* chain. Docker
    leaves DOCKER-USER for that; it never clears it.
    """
    gates = []
    # Where we speak iptables ourselves, our chain stands first in FORWARD: its accept is final.
    ours = _state.get("language") == "iptables"
    for command, in_use in (
        ("iptables-nft", _nft_has_filter_table),
        ("iptables-legacy", lambda: not ours and "filter" in _iptables_tables("ip").split()),
    ):
        tool = _find(command)
        if tool and in_use():
            rules = _run([tool, "-w", "-S"])
            if "-N DOCKER-USER" in rules:
                gates.append((tool, "DOCKER-USER"))
            elif "-P FORWARD DROP" in rules:
                gates.append((tool, "FORWARD"))
    return gates


def _nft_has_filter_table() -> bool:
    try:
        return "table ip filter" in nft("list tables\n")
    except (OSError, UnsupportedError):
        return False


def open_gate(gate: tuple[str, str], link: str) -> None:
    """Let a chain of others accept what comes from or goes to one of our links."""
    tool, chain = gate
    for side in ("-i", "-o"):
        _insert([tool, "-w"], [chain, side, link, "-j", "ACCEPT"])


def close_gate(gate: tuple[str, str], link: str) -> None:
    """Take our rules out of that chain again; fine if they are gone."""
    tool, chain = gate
    for side in ("-i", "-o"):
        try:
            _run([tool, "-w", "-D", chain, side, link, "-j", "ACCEPT"])
        except OSError:
            pass


# --- commands -----------------------------------------------------------------------------------


def _find(command: str) -> str | None:
    """The path of a command; administrators' folders too, which a user's PATH may lack."""
    for folder in (*os.environ.get("PATH", "").split(":"), "/usr/sbin", "/sbin"):
        path = os.path.join(folder, command)
        if folder and os.access(path, os.X_OK):
            return path
    return None


def _nft_command() -> str:
    found = _find("nft")
    if found is None:
        fix = "install the package nftables (or libnftables1)"
        raise UnsupportedError("nft rules", "neither libnftables.so.1 nor nft is installed", fix)
    return found


def _run(argv: list[str], text: str = "") -> str:
    """Run a command with `text` as its input; what it printed.

    Raises:
        OSError: it ended with an error; shows its own words.
    """
    memory = [os.memfd_create(name, os.MFD_CLOEXEC) for name in ("in", "out", "err")]
    try:
        os.write(memory[0], text.encode())
        os.lseek(memory[0], 0, os.SEEK_SET)
        actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(memory)]
        pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=actions)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        out, err = (os.pread(fd, 1 << 22, 0).decode(errors="replace") for fd in memory[1:])
    finally:
        for fd in memory:
            os.close(fd)
    if status != 0:
        raise _refused(" ".join([os.path.basename(argv[0]), *argv[1:]]), err or out)
    return out
