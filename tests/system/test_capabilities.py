"""The five sets in the kernel, before and after a change of user and an exec."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from labcontainer import capabilities, users
from labcontainer.capabilities import DEFAULT, Sets
from labcontainer.kernel.flags import CLONE
from tests.system import aside, forked

pytestmark = pytest.mark.requires("root")


def after(sets: Sets, uid: int = 0, no_new_privs: bool = False) -> tuple[Sets, Sets]:
    """The sets as a process has them, and as a program has them that it executes."""

    def change() -> tuple[Sets, Sets]:
        return confined(sets, uid, no_new_privs)

    own, executed = aside.run(change).value
    return own, executed


def confined(sets: Sets, uid: int, no_new_privs: bool) -> tuple[Sets, Sets]:
    capabilities.apply_bounding(sets.bounding)
    capabilities.keep()
    users.become(uid, uid, ())
    capabilities.apply(sets, no_new_privs)
    status = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    kinds = {"bounding": "Bnd", "effective": "Eff", "permitted": "Prm"}
    kinds |= {"inheritable": "Inh", "ambient": "Amb"}
    executed = {kind: capabilities.names(int(fields[f"Cap{k}"], 16)) for kind, k in kinds.items()}
    assert fields["NoNewPrivs"] == str(int(no_new_privs))
    return capabilities.read(), Sets(**executed)


def in_order(names: tuple[str, ...]) -> tuple[str, ...]:
    return capabilities.names(capabilities.mask(names))


def test_the_kernels_last_capability_is_known() -> None:
    assert capabilities.last() >= 40
    text = Path("/proc/sys/kernel/cap_last_cap").read_text()
    assert capabilities.last() == int(text)


def test_our_reading_is_the_kernels() -> None:
    assert capabilities.mask(capabilities.read(os.getpid()).bounding) == capabilities.bounding()


def test_root_with_dockers_default() -> None:
    own, executed = after(capabilities.default_sets())
    expected = in_order(DEFAULT)
    assert own == executed == Sets(expected, expected, expected)


def test_an_ordinary_user_keeps_nothing_but_the_bound() -> None:
    own, executed = after(capabilities.default_sets(root=False), uid=1000)
    assert own == executed == Sets(bounding=in_order(DEFAULT))


def test_permitted_outlives_the_change_of_user_but_no_exec() -> None:
    some = ("CAP_KILL", "CAP_NET_RAW")
    own, executed = after(Sets(bounding=some, effective=some, permitted=some), uid=1000)
    assert own.effective == own.permitted == some
    assert executed.permitted == executed.effective == ()


def test_ambient_outlives_an_exec_of_an_ordinary_user() -> None:
    one = ("CAP_NET_BIND_SERVICE",)
    own, executed = after(Sets(one, one, one, one, one), uid=1000)
    assert own == executed == Sets(one, one, one, one, one)


def test_an_emptied_bound_leaves_root_nothing_after_exec() -> None:
    _, executed = after(Sets())
    assert executed == Sets()


def test_no_new_privs() -> None:
    after(capabilities.default_sets(), no_new_privs=True)


def test_what_is_not_there_is_told_and_left_out() -> None:
    def twice() -> tuple[tuple[str, ...], Sets]:
        confined(Sets(*[("CAP_KILL",)] * 3), 0, False)
        wanted = ("CAP_KILL", "CAP_SYS_ADMIN", "CAP_FLY")
        warned = capabilities.apply_bounding(wanted)
        warned += capabilities.apply(Sets(wanted, wanted, wanted, wanted, wanted))
        return warned, capabilities.read()

    warned, sets = aside.run(twice).value
    assert sets == Sets(*[("CAP_KILL",)] * 5)
    assert "CAP_FLY: unknown" in warned
    assert "CAP_SYS_ADMIN: cannot be made permitted" in warned


def everything_in_a_user_namespace() -> tuple[tuple[str, ...], Sets]:
    chosen = capabilities.names((1 << (capabilities.last() + 1)) - 1)
    warned = capabilities.apply_bounding(chosen)
    return warned + capabilities.apply(Sets(chosen, chosen, chosen)), capabilities.read()


@pytest.mark.requires("userns")
def test_a_user_namespace_gives_all_inside() -> None:
    warned, sets = forked.call(everything_in_a_user_namespace, flags=CLONE.NEWUSER, uid=1000)
    assert warned == ()
    assert len(sets.effective) == capabilities.last() + 1
