"""Names and bits, Docker's choice, and the order of the calls, on a replaced kernel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcontainer import capabilities
from labcontainer.capabilities import DEFAULT, NAMES, Sets
from labcontainer.errors import UsageError
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import PR, PR_CAP_AMBIENT

PODMAN_BITS = {"CAP_CHOWN": 0, "CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_BPF": 39}


def test_names_have_the_kernels_numbers() -> None:
    assert len(NAMES) == len(set(NAMES)) == 41
    assert {name: capabilities.BITS[name] for name in PODMAN_BITS} == PODMAN_BITS


@given(st.integers(0, (1 << 41) - 1))
def test_mask_and_names_are_inverse(bits: int) -> None:
    assert capabilities.mask(capabilities.names(bits)) == bits


def test_a_bit_newer_than_the_list_has_a_number_for_a_name() -> None:
    assert capabilities.names(1 << 41) == ("CAP_41",)


def test_docker_gives_fourteen() -> None:
    assert len(DEFAULT) == 14
    assert capabilities.mask(DEFAULT) == 0xA80425FB


def test_default_sets_leave_inheritable_empty() -> None:
    root, other = capabilities.default_sets(), capabilities.default_sets(root=False)
    assert root == Sets(bounding=DEFAULT, effective=DEFAULT, permitted=DEFAULT)
    assert other == Sets(bounding=DEFAULT)


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ((), (), set(DEFAULT)),
        (("sys_admin",), (), {*DEFAULT, "CAP_SYS_ADMIN"}),
        ((), ("CAP_CHOWN", "kill"), set(DEFAULT) - {"CAP_CHOWN", "CAP_KILL"}),
        (("ALL",), (), set(NAMES)),
        (("all",), ("NET_RAW",), set(NAMES) - {"CAP_NET_RAW"}),
        ((), ("ALL",), set()),
        (("CHOWN",), ("ALL",), {"CAP_CHOWN"}),
    ],
)
def test_choose_reads_as_docker_does(
    add: tuple[str, ...], drop: tuple[str, ...], expected: set[str]
) -> None:
    assert set(capabilities.choose(add, drop)) == expected


def test_choose_privileged_is_everything() -> None:
    assert capabilities.choose(privileged=True) == NAMES


def test_choose_refuses_an_unknown_name() -> None:
    with pytest.raises(UsageError, match="unknown capability 'FLY'"):
        capabilities.choose(["FLY"])


class Kernel:
    """Answers as a kernel whose process holds `held`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, held: tuple[str, ...]) -> None:
        self.held = capabilities.mask(held)
        self.calls: list[tuple[object, ...]] = []
        monkeypatch.setattr(syscalls, "prctl", self.prctl)
        monkeypatch.setattr(syscalls, "capget", lambda: (self.held, self.held, 0))
        monkeypatch.setattr(syscalls, "capset", lambda *sets: self.calls.append(("capset", *sets)))

    def prctl(self, option: int, arg2: int = 0, arg3: int = 0) -> int:
        if option == PR.CAPBSET_READ:
            if arg2 > 40:
                raise OSError(22, "Invalid argument")
            return self.held >> arg2 & 1
        if option == PR.CAPBSET_DROP:
            self.held &= ~(1 << arg2)
        self.calls.append((option, arg2, arg3))
        return 0


def test_bounding_drops_only_what_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, ("CAP_CHOWN", "CAP_KILL"))
    warned = capabilities.apply_bounding(("CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_FLY"))
    assert kernel.calls == [(PR.CAPBSET_DROP, capabilities.BITS["CAP_KILL"], 0)]
    assert warned == ("CAP_FLY: unknown", "CAP_SYS_ADMIN: not in our own bounding set")


def test_apply_gives_what_there_is_and_says_what_not(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, ("CAP_CHOWN", "CAP_KILL"))
    both = ("CAP_CHOWN", "CAP_SYS_ADMIN")
    warned = capabilities.apply(Sets(both, both, both, both, both), no_new_privs=True)
    bit = 1 << capabilities.BITS["CAP_CHOWN"]
    assert kernel.calls == [
        ("capset", bit, bit, bit),
        (PR.CAP_AMBIENT, PR_CAP_AMBIENT.CLEAR_ALL, 0),
        (PR.CAP_AMBIENT, PR_CAP_AMBIENT.RAISE, capabilities.BITS["CAP_CHOWN"]),
        (PR.SET_KEEPCAPS, 0, 0),
        (PR.SET_NO_NEW_PRIVS, 1, 0),
    ]
    assert set(warned) == {
        f"CAP_SYS_ADMIN: cannot be made {kind}"
        for kind in ("effective", "permitted", "inheritable", "ambient")
    }


def test_effective_is_never_more_than_permitted(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, NAMES)
    warned = capabilities.apply(Sets(effective=("CAP_CHOWN",)))
    assert kernel.calls[0] == ("capset", 0, 0, 0)
    assert warned == ("CAP_CHOWN: cannot be made effective",)


def test_plan_reads_in_order() -> None:
    plan = capabilities.plan(capabilities.default_sets(root=False))
    assert plan[0].startswith("drop from the bounding set: DAC_READ_SEARCH")
    assert plan[-1] == "ambient: none"
