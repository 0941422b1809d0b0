"""One rule in two languages. What the kernel makes of them is in tests/system/test_network.py."""

from __future__ import annotations

import pytest

from labcontainer.errors import UnsupportedError
from labcontainer.kernel import firewall
from labcontainer.kernel.firewall import Rule

BOTH = [
    (
        Rule("prerouting", "dnat 10.231.0.2:80", local=True, protocol="tcp", port=8080),
        "fib daddr type local tcp dport 8080 dnat to 10.231.0.2:80",
        (
            "-A X -m addrtype --dst-type LOCAL -p tcp --dport 8080 "
            "-j DNAT --to-destination 10.231.0.2:80"
        ),
    ),
    (
        Rule("postrouting", "masquerade", source="10.231.0.0/24", out_link="!lcbr0"),
        'oifname != "lcbr0" ip saddr 10.231.0.0/24 masquerade',
        "-A X ! -o lcbr0 -s 10.231.0.0/24 -j MASQUERADE",
    ),
    (
        Rule("forward", "accept", out_link="lcbr0", state="established"),
        'oifname "lcbr0" ct state established,related accept',
        "-A X -o lcbr0 -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
    ),
    (
        Rule("raw", "drop", in_link="lcbr0", destination="!127.0.0.0/8"),
        'iifname "lcbr0" ip daddr != 127.0.0.0/8 drop',
        "-A X -i lcbr0 ! -d 127.0.0.0/8 -j DROP",
    ),
]


@pytest.mark.parametrize(("rule", "nft", "iptables"), BOTH)
def test_a_rule_in_both_languages(rule: Rule, nft: str, iptables: str) -> None:
    assert firewall.in_nft(rule) == nft
    assert firewall.in_iptables(rule, "X") == iptables


def test_a_rule_goes_into_the_family_of_its_addresses() -> None:
    rules = [
        Rule("forward", "drop", out_link="b"),
        Rule("forward", "accept", source="10.0.0.0/8"),
        Rule("forward", "accept", source="fd00::/8"),
        Rule("prerouting", "dnat [fd00::2]:80", protocol="tcp", port=80),
    ]
    assert firewall.families(rules) == ("ip", "ip6")
    assert firewall.families(rules[:2]) == ("ip",)
    text = firewall.render_nft("lc", rules)
    four, six = text.split("table ip6 lc {")
    assert "10.0.0.0/8" in four and "10.0.0.0/8" not in six
    assert "fd00" not in four and six.count("fd00") == 2
    assert four.count('oifname "b" drop') == six.count('oifname "b" drop') == 1


def test_the_text_replaces_the_whole_table_in_one_transaction() -> None:
    lines = firewall.render_nft("lc", [Rule("forward", "drop", out_link="b")]).splitlines()
    assert lines[:5] == [
        "table ip lc",
        "delete table ip lc",
        "table ip6 lc",
        "delete table ip6 lc",
        "table ip lc {",
    ]
    assert firewall.render_nft("lc", []).splitlines() == lines[:4]


def test_iptables_chains_are_our_own_and_emptied_first() -> None:
    text = firewall.render_iptables("lc", [Rule("forward", "drop", out_link="b")], "ip")
    assert ":LC-FORWARD - [0:0]\n-A LC-FORWARD -o b -j DROP\nCOMMIT" in text
    assert text.count("COMMIT") == 3


def test_a_chains_name_fits() -> None:
    longest = firewall._chain("labcontainer-and-more", "postrouting")
    assert len(longest) <= 28


def test_the_tools_words_become_the_errors_number() -> None:
    said = "Error: Could not process rule: No such file or directory\nadd rule x\n^^^\n"
    error = firewall._refused("nft", said)
    assert error.errno == 2
    assert "add rule x" in str(error)


def test_without_nft_there_is_no_table_of_nfts_to_delete(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an image that has iptables alone: a daemon that begins knows of no language yet."""
    monkeypatch.setattr(firewall, "_state", {"library": None})
    monkeypatch.setattr(firewall, "_find", lambda _command: None)
    firewall.delete("labcontainer-test")
    with pytest.raises(UnsupportedError, match="neither libnftables"):
        firewall.replace("labcontainer-test", ())
