"""The doctor's word against the machine: as root, without root, and where a switch says no."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import pytest

from labcontainer.errors import UsageError
from labcontainer.lab import doctor, probes

AsUser = Callable[..., "CompletedProcess[str]"]
# What the doctor says when the words are run; quick facts only.
SAY = "import sys; from labcontainer.cli.main import main; exit(main(['doctor', *sys.argv[1:]]))"


def facts(ended: CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    assert ended.stdout, ended.stderr
    return {row["name"]: row for row in json.loads(ended.stdout)}


def test_every_name_has_a_probe_and_a_place_in_the_report() -> None:
    assert set(doctor.NAMES) == set(probes.PROBES)
    assert len(doctor.NAMES) == len(set(doctor.NAMES))
    assert all(fact in doctor.NAMES for _, _, needed in doctor.TIERS for fact in needed)


def test_every_no_has_a_cause_and_a_fix() -> None:
    for row in doctor.report():
        assert row.ok or (row.cause and row.fix), row


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UsageError, match="knows no 'flying'"):
        doctor.probe("flying")


def test_probes_leave_the_asking_process_as_it_was() -> None:
    known = ("mnt", "pid", "uts", "net", "user", "time")
    kinds = [kind for kind in known if os.path.exists(f"/proc/self/ns/{kind}")]
    before = [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]
    doctor._known.clear()
    doctor.examine(("mount", "netns", "bridge", "timens", "overlay-userns", "seccomp"))
    assert [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds] == before


def test_answers_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    doctor.probe("pidfd")
    monkeypatch.setattr(doctor, "_probe", lambda names: pytest.fail(f"asked again: {names}"))
    assert doctor.probe("pidfd")[0]


@pytest.mark.requires("root")
def test_an_ordinary_user_is_told_so(as_user: AsUser) -> None:
    found = facts(as_user([sys.executable, "-c", SAY, "--json", "root", "sandbox", "mount"]))
    assert not found["root"]["ok"]
    assert "you are user 1000" in found["root"]["cause"]
    assert "user-mode-linux" in found["root"]["fix"]
    assert found["sandbox"]["detail"] == "in a user namespace"


@pytest.mark.requires("root")
def test_the_tier_follows_from_the_facts(as_user: AsUser) -> None:
    say = "from labcontainer.lab import doctor; print(doctor.tier_sentence())"
    assert as_user([sys.executable, "-c", say]).stdout == "T1, user namespaces\n"
    assert doctor.best_tier() == "T2"


@pytest.mark.requires("userns", "unshare")
def test_a_switched_off_user_namespace_is_named_with_its_sysctl(as_user: AsUser) -> None:
    """In a user namespace whose own limit is 0, none can be made below it."""
    script = f'echo 0 > /proc/sys/user/max_user_namespaces; exec {sys.executable} -c "$0" "$@"'
    words = ["unshare", "-Ur", "sh", "-c", script, SAY, "--json", "userns", "sandbox"]
    found = facts(as_user(words))
    assert found["userns"]["cause"] == "user.max_user_namespaces is 0"
    assert found["userns"]["fix"].startswith("sudo sysctl user.max_user_namespaces=")
    # Root of that namespace still makes the others, so notebooks go on.
    assert "ok" in found["sandbox"]


def test_programs_are_found_on_the_path_only(as_user: AsUser) -> None:
    words = f'PATH=/none exec {sys.executable} -c "$0" "$@"'
    ended = as_user(["sh", "-c", words, SAY, "--json", "busybox"])
    found = facts(ended)
    assert found["busybox"] == {
        "name": "busybox", "ok": False, "detail": "", "cause": "busybox is not installed",
        "fix": "apt install busybox-static",
    }  # fmt: skip
    assert ended.returncode == 1


def test_the_report_reads_well() -> None:
    text = doctor.as_text(80)
    assert max(map(len, text.splitlines())) <= 80
    assert "Tiers of the course" in text
    assert all(f" {name} " in f"{text} ".replace("\n", " ") for name in doctor.NAMES)


def test_the_json_report_has_every_fact_and_tier() -> None:
    document = json.loads(doctor.as_json())
    assert set(document["facts"]) == set(doctor.NAMES)
    assert set(document["tiers"]) == {"T0", "T1", "T2", "TU", "T4"}


def test_the_notebooks_table_says_the_same_in_words() -> None:
    card = doctor.table("sandbox", "runc")
    assert "sandbox" in card.text and "<code>sandbox</code>" in card.html
    assert card.text.count("\n") < 4


@pytest.mark.requires("busybox")
def test_busybox_is_told_by_what_it_is() -> None:
    with open(shutil.which("busybox") or "", "rb") as file:
        static = b"ld-linux" not in file.read(4096)
    assert (doctor.probe("busybox")[1] == "static") is static
