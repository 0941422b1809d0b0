"""The packet rules of container networks: isolation, masquerading, published ports.

A packet to a published port, as an example of how they act together:

    192.0.2.7 -> host:8080        prerouting   dnat: the destination becomes 10.231.0.2:80
    192.0.2.7 -> 10.231.0.2:80    forward      accept: its destination was rewritten
    10.231.0.2 -> 192.0.2.7       (answer)     the kernel knows the connection and turns it back

Rules are pure data here; `kernel.firewall` writes them down in netfilter's languages.
"""

from __future__ import annotations

from labcontainer.kernel.firewall import Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from labcontainer.network import Bridge, Endpoint


def rules(bridges: Iterable[Bridge], endpoints: Iterable[Endpoint]) -> tuple[Rule, ...]:
    """The packet rules of all networks: isolation, masquerading, published ports."""
    bridges = list(bridges)
    found = [rule for bridge in bridges for rule in _isolation(bridge)]
    for bridge in bridges:  # after every bridge's drops: the first verdict of a chain counts
        verdict = "drop" if bridge.internal else "accept"
        found.append(Rule("forward", verdict, in_link=bridge.name))
    found += [rule for bridge in bridges if not bridge.internal for rule in _nat(bridge)]
    return (*found, *(rule for endpoint in endpoints for rule in _published(endpoint)))


def _isolation(bridge: Bridge) -> list[Rule]:
    """Who may send to the bridge: its own, answers, and what came by a published port."""
    name = bridge.name
    local = ["127.0.0.0/8", *(["::1"] if bridge.subnet6 else [])]
    # Between its own ports only with bridge-nf-call-iptables: else no rule sees those frames.
    neighbours = [Rule("forward", "accept", in_link=name, out_link=name)] if bridge.icc else []
    return [
        *(Rule("raw", "drop", in_link=name, destination=one) for one in local),
        *neighbours,
        Rule("forward", "accept", out_link=name, state="established"),
        Rule("forward", "accept", out_link=name, state="dnat"),
        Rule("forward", "drop", out_link=name),
    ]


def _nat(bridge: Bridge) -> list[Rule]:
    """Whose source address becomes the host's."""
    found = [Rule("postrouting", "masquerade", source="127.0.0.0/8", out_link=bridge.name)]
    for subnet in filter(None, (bridge.subnet, bridge.subnet6)):
        if bridge.masquerade:
            out = f"!{bridge.name}"
            found.append(Rule("postrouting", "masquerade", source=subnet, out_link=out))
        # A neighbour that comes by a published port: without this, the answer would go to it
        # straight, from an address that it did not ask.
        found.append(Rule("postrouting", "masquerade", source=subnet, destination=subnet,
                          state="dnat"))  # fmt: skip
    return found


def _published(endpoint: Endpoint) -> list[Rule]:
    found = []
    for port in endpoint.ports:
        what = Rule("output", "", local=True, protocol=port.protocol, port=port.host_port)
        to = what.replace(verdict=f"dnat {endpoint.ip}:{port.container_port}")
        if port.host_ip in ("", "0.0.0.0"):
            found += [to.replace(chain="prerouting", destination="!127.0.0.0/8"), to]
        elif port.host_ip.startswith("127."):
            # From the host only: a neighbour may send a packet with that destination.
            found.append(to.replace(destination=port.host_ip))
        elif ":" not in port.host_ip:
            to = to.replace(destination=port.host_ip)
            found += [to.replace(chain="prerouting"), to]
        if endpoint.ip6 and (not port.host_ip or ":" in port.host_ip):
            # ::1 has no way out by a bridge: localhost is IPv4 here.
            given = port.host_ip if port.host_ip not in ("", "::") else "!::1"
            to = what.replace(verdict=f"dnat [{endpoint.ip6}]:{port.container_port}")
            to = to.replace(destination=given)
            found += [to.replace(chain="prerouting"), to]
    return found
