"""What a rule set asks of each version of the kernel's interface."""

from __future__ import annotations

import errno

import pytest

from labcontainer import landlock
from labcontainer.errors import UnsupportedError
from labcontainer.kernel import syscalls
from labcontainer.landlock import ACCESS_FS, Ruleset


@pytest.mark.parametrize(
    ("version", "highest"),
    [
        (1, ACCESS_FS.MAKE_SYM),
        (2, ACCESS_FS.REFER),
        (3, ACCESS_FS.TRUNCATE),
        (4, ACCESS_FS.TRUNCATE),
        (5, ACCESS_FS.IOCTL_DEV),
        (9, ACCESS_FS.IOCTL_DEV),
    ],
)
def test_each_version_handles_all_rights_it_knows(version: int, highest: int) -> None:
    assert landlock.handled_fs(version) == 2 * highest - 1


def test_plan_says_what_stays_allowed() -> None:
    plan = landlock.plan(Ruleset(read=("/etc",), write=("/tmp",), connect=(443,)), 6)
    assert "allow ACCESS_FS.READ_FILE|ACCESS_FS.READ_DIR below /etc" in plan
    assert "allow ACCESS_NET.CONNECT_TCP on port 443" in plan
    assert plan[-2:] == ("set no_new_privs", "put this process under the rules")


def test_plan_leaves_out_what_an_old_kernel_does_not_know() -> None:
    write = next(line for line in landlock.plan(Ruleset(write=("/tmp",)), 1) if "/tmp" in line)
    assert "TRUNCATE" not in write and "MAKE_REG" in write and "EXECUTE" not in write


@pytest.mark.parametrize(
    ("ruleset", "version", "words"),
    [
        (Ruleset(bind=()), 3, "TCP ports: version 4"),
        (Ruleset(isolated=True), 5, "signals and abstract sockets: version 6"),
    ],
)
def test_what_the_kernel_is_too_old_for_is_refused(
    ruleset: Ruleset, version: int, words: str
) -> None:
    with pytest.raises(UnsupportedError, match=words):
        landlock.check(ruleset, version)


@pytest.mark.parametrize(
    ("code", "words"), [(errno.ENOSYS, "this kernel has none"), (errno.EOPNOTSUPP, "switched off")]
)
def test_absence_has_a_clear_reason(monkeypatch: pytest.MonkeyPatch, code: int, words: str) -> None:
    def refuse(attr: bytes | None, flags: int = 0) -> int:
        raise OSError(code, "no")

    monkeypatch.setattr(syscalls, "landlock_create_ruleset", refuse)
    with pytest.raises(UnsupportedError, match=words):
        landlock.abi()
