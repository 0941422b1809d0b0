"""Every publicly known way out of a container that a runtime has had, tried on ours.

Each test is named by the hole. The container does what an attacker's image would do; what counts is
that no file of the host came into its hands, and that it was not run uncontained.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labcontainer.kernel.syscall_numbers import numbers
from tests.system.oci_home import ROOT, Bundle, OciHome

pytestmark = pytest.mark.requires("root", "mount", "busybox")

SECRET = "the host's own file"


@pytest.fixture
def home(tmp_path: Path, rootfs: Path) -> Iterator[OciHome]:
    one = OciHome(tmp_path, rootfs)
    (tmp_path / "secret").write_text(SECRET)
    yield one
    one.close()


def shell(home: OciHome, script: str) -> Bundle:
    return home.bundle("sh", "-c", script)


def wait_for(path: Path, seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < ends, f"{path} did not appear"
        time.sleep(0.02)


# --- CVE-2019-5736: the runtime's own binary, by /proc/PID/exe ----------------------------------


@pytest.mark.parametrize("script", [False, True])
def test_cve_2019_5736_the_entry_point_is_proc_self_exe(home: OciHome, script: bool) -> None:
    bundle = home.bundle("/proc/self/exe", "-c", "print('the host runs')")
    if script:
        (bundle.rootfs / "entry").write_text("#!/proc/self/exe\n")
        (bundle.rootfs / "entry").chmod(0o755)
        bundle.process["args"] = ["/entry"]
    # The host's Python would be loaded by the image's own loader: a busybox that tells.
    loader = bundle.rootfs / "lib64/ld-linux-x86-64.so.2"
    loader.parent.mkdir()
    loader.symlink_to("/bin/busybox")
    done = home.run(bundle)
    assert done.returncode != 0
    assert "the host runs" not in done.stdout and "applet" not in done.stdout + done.stderr


@pytest.mark.parametrize("gate", [False, True])
def test_cve_2019_5736_a_hook_of_the_image_is_a_script_of_proc_self_exe(
    home: OciHome, gate: bool
) -> None:
    bundle = home.bundle("true")
    (bundle.rootfs / "hook").write_text("#!/proc/self/exe\n")
    (bundle.rootfs / "hook").chmod(0o755)
    loader = bundle.rootfs / "lib64/ld-linux-x86-64.so.2"
    loader.parent.mkdir()
    loader.symlink_to("/bin/busybox")
    bundle.config["hooks"] = {"startContainer": [{"path": "/hook"}]}
    if gate:
        bundle.save()
        create = home.argv("create", "--bundle", bundle.path, bundle.id)
        nothing = subprocess.DEVNULL
        subprocess.run(create, stdin=nothing, stdout=nothing, stderr=nothing, check=True)
    done = home.call("start", bundle.id) if gate else home.run(bundle)
    assert done.returncode != 0 and "hook #0" in done.stderr
    assert "applet" not in done.stdout + done.stderr


WATCH = """
cat /proc/1/maps > /maps
: > /descriptors
: > /found
while :; do
  for p in /proc/[0-9]*; do
    [ "$p" = /proc/1 ] && continue
    readlink "$p/exe" >> /found
    cat "$p/maps" >> /maps
    for fd in $p/fd/*; do readlink "$fd" >> /descriptors; done
    cat "$p/environ" >> /environ
  done
done 2>/dev/null
"""


# A container that may trace sees all that procfs tells of every process of its own.
@pytest.mark.parametrize("more", [(), ("CAP_SYS_PTRACE",), ("CAP_SYS_PTRACE", "CAP_SYS_ADMIN")])
def test_cve_2019_5736_and_2016_9962_exec_shows_nothing_of_the_runtime(
    home: OciHome, more: tuple[str, ...]
) -> None:
    bundle = shell(home, WATCH)
    bundle.process["capabilities"] = {
        kind: [*names, *more] for kind, names in bundle.process["capabilities"].items()
    }
    home.start(bundle)
    wait_for(bundle.rootfs / "found")
    for _ in range(12):
        done = home.call("exec", bundle.id, "true", env={"LC_HOST_SECRET": SECRET, "PATH": "/bin"})
        assert done.returncode == 0, done.stderr
    home.call("kill", bundle.id, "KILL")
    seen = set((bundle.rootfs / "found").read_text().splitlines())
    assert seen <= {"/bin/busybox", "/memfd:exec (deleted)"}, seen
    lines = (bundle.rootfs / "maps").read_text().splitlines()
    mapped = {line.split(maxsplit=5)[5] for line in lines if len(line.split()) > 5}
    files = {path for path in mapped if not path.startswith("[")}
    assert "/bin/busybox" in files and files <= {"/bin/busybox", "/memfd:exec (deleted)"}, files
    open_files = set((bundle.rootfs / "descriptors").read_text().splitlines())
    open_files = {path for path in open_files if str(home.place) in path or "labcontainer" in path}
    # Its own group's list: it can put none but its own processes there.
    assert all(path.endswith(f"/{bundle.id}/tasks") for path in open_files), open_files
    environ = bundle.rootfs / "environ"
    assert not environ.exists() or SECRET not in environ.read_text(errors="replace")


# --- CVE-2019-14271: code of the image, loaded by a process of the host -------------------------

POISON = """
import posix
fd = posix.open("/pwned", posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND)
posix.write(fd, (__name__ + "\\n").encode())
posix.close(fd)
"""


def poison(root: Path) -> None:
    """Put code of the image wherever the runtime's Python would look for a module or a library."""
    folders = {path for path in sys.path if path and os.path.isdir(path)}
    folders |= {os.path.dirname(os.__file__), f"{os.path.dirname(os.__file__)}/lib-dynload"}
    for folder in folders | {str(ROOT)}:
        there = Path(f"{root}{folder}")
        there.mkdir(parents=True, exist_ok=True)
        for name in sys.stdlib_module_names:
            (there / f"{name}.py").write_text(POISON)
    for package in (ROOT / "labcontainer", Path(os.__file__).parent / "encodings"):
        for path in package.rglob("*.py"):
            there = Path(f"{root}{path}")
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_text(POISON)
    for library in ("libc.so.6", "libnss_files.so.2", "libdl.so.2"):
        for folder in ("lib", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"):
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / library).write_bytes(b"\x7fELF" + b"\0" * 60)


@pytest.mark.parametrize("what", ["true", "nosuchprogram", "/etc/passwd", "/bin"])
def test_cve_2019_14271_no_module_is_loaded_from_the_image(home: OciHome, what: str) -> None:
    bundle = home.bundle(what)
    poison(bundle.rootfs)
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 100}]
    bundle.process["user"] = {"uid": 0, "gid": 0, "umask": 18, "additionalGids": [7]}
    bundle.config["hostname"] = "poisoned"
    bundle.linux["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "80"}
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}],
    }
    done = home.run(bundle)
    assert (done.returncode == 0) == (what == "true"), done.stderr
    assert not (bundle.rootfs / "pwned").exists(), (bundle.rootfs / "pwned").read_text()


@pytest.mark.parametrize("what", ["true", "nosuchprogram", "/etc/passwd"])
def test_cve_2019_14271_nor_by_exec(home: OciHome, what: str) -> None:
    bundle = home.bundle("sleep", "1000")
    poison(bundle.rootfs)
    home.start(bundle)
    done = home.call("exec", "--user=1000:1000", "--cwd=/tmp", bundle.id, what)
    assert (done.returncode == 0) == (what == "true"), done.stderr
    assert not (bundle.rootfs / "pwned").exists(), (bundle.rootfs / "pwned").read_text()


# --- CVE-2021-30465: a mount target that becomes a symbolic link ---------------------------------

RENAME_EXCHANGE = 2


def swap(one: Path, other: Path, until: threading.Event) -> None:
    """Exchange two names as fast as it goes."""
    call = ctypes.CDLL(None).syscall
    number = numbers(os.uname().machine)["renameat2"]
    names = [str(path).encode() for path in (one, other)]
    while not until.is_set():
        call(number, -100, names[0], -100, names[1], RENAME_EXCHANGE)


@pytest.mark.parametrize("absolute", [True, False])
def test_cve_2021_30465_targets_that_are_links_stay_inside(home: OciHome, absolute: bool) -> None:
    outside = home.place / "outside"
    outside.mkdir()
    bundle = shell(home, "mount; cat /work/* 2>/dev/null")
    (bundle.rootfs / "work").rmdir()
    up = "/" if absolute else "/".join([".."] * 30)
    (bundle.rootfs / "work").symlink_to(f"{up}{outside}")
    bundle.config["mounts"].append({"destination": "/work", "type": "tmpfs", "source": "tmpfs"})
    (outside / "file").write_text(SECRET)
    done = home.run(bundle)
    assert SECRET not in done.stdout
    if done.returncode == 0 or done.stdout:
        assert f"tmpfs on {outside} " in done.stdout, "it was to be mounted on the link's own end"


def test_cve_2021_30465_targets_swapped_while_mounting(home: OciHome) -> None:
    victim = home.place / "victim"
    victim.mkdir()
    (victim / "secret").write_text(SECRET)
    volume = home.place / "volume"
    (volume / "target").mkdir(parents=True)
    (volume / "link").symlink_to(f"{'../' * 30}{victim}")
    script = "cat /proc/self/mountinfo; find / -xdev -name secret; cat /volume/*/secret"
    done = threading.Event()
    racer = threading.Thread(target=swap, args=(volume / "target", volume / "link", done))
    racer.start()
    try:
        for _ in range(25):
            bundle = shell(home, script)
            bundle.config["mounts"] += [
                {"destination": "/volume", "source": str(volume), "options": ["rbind", "rw"]},
                {"destination": "/volume/target", "type": "tmpfs", "source": "tmpfs"},
                {
                    "destination": "/volume/target/deep",
                    "source": str(home.place / "volume"),
                    "options": ["bind"],
                },
            ]
            found = home.run(bundle)
            assert SECRET not in found.stdout, found.stdout
            home.call("delete", "--force", bundle.id)
    finally:
        done.set()
        racer.join()
    assert os.listdir(victim) == ["secret"], "a mount point was made in the host's directory"


# --- CVE-2024-21626: a descriptor of the host's that stayed open ---------------------------------


@pytest.mark.parametrize("number", range(3, 16))
def test_cve_2024_21626_the_working_directory_is_a_descriptor(home: OciHome, number: int) -> None:
    bundle = shell(home, f"cat {'../' * 30}{home.place}/secret; ls -l /proc/self/cwd")
    bundle.process["cwd"] = f"/proc/self/fd/{number}"
    done = home.run(bundle)
    assert done.returncode != 0 and SECRET not in done.stdout


@pytest.mark.parametrize("number", range(3, 12))
def test_cve_2024_21626_by_a_link_and_exec(home: OciHome, number: int) -> None:
    bundle = shell(home, "sleep 1000")
    (bundle.rootfs / "evil").symlink_to(f"/proc/self/fd/{number}")
    home.start(bundle)
    script = f"cat {'../' * 30}{home.place}/secret"
    done = home.call("exec", "--cwd=/evil", bundle.id, "sh", "-c", script)
    assert done.returncode != 0 and SECRET not in done.stdout


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_cve_2024_21626_no_descriptor_is_passed_on(home: OciHome, verb: str) -> None:
    script = "ls -l /proc/self/fd"
    bundle = shell(home, script if verb == "run" else "sleep 1000")
    fds = [os.open(path, os.O_RDONLY) for path in ("/", str(home.place), "/etc")]
    for fd in fds:
        os.set_inheritable(fd, True)
    try:
        if verb == "run":
            done = home.run(bundle, pass_fds=fds)
        else:
            home.start(bundle)
            done = home.call("exec", bundle.id, "sh", "-c", script, pass_fds=fds)
    finally:
        for fd in fds:
            os.close(fd)
    numbers = {int(line.split()[8]) for line in done.stdout.splitlines()[1:]}
    assert numbers == {0, 1, 2, 3}, done.stdout  # 3 is ls's own


def test_cve_2024_21626_a_program_below_a_descriptor(home: OciHome) -> None:
    for number in range(3, 12):
        done = home.run(home.bundle(f"/proc/self/fd/{number}/bin/sh", "-c", "echo out"))
        assert done.returncode != 0 and "out" not in done.stdout


# --- CVE-2025-31133, -52565, -52881: what masks a path, the console, and writes to /proc --------


def mounts(home: OciHome, bundle: Bundle) -> dict[str, tuple[str, str]]:
    """What is mounted in a running container: target -> (root, type)."""
    pid = home.start(bundle)
    found = {}
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        found[fields[4]] = (fields[3], after.split()[0])
    return found


@pytest.mark.parametrize("trick", ["link", "file", "missing"])
def test_cve_2025_31133_dev_null_is_not_what_it_seems(home: OciHome, trick: str) -> None:
    bundle = home.bundle("sleep", "1000")
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if m["type"] == "proc"]
    null = bundle.rootfs / "dev/null"
    if trick == "link":
        null.symlink_to("/proc/sys/kernel/domainname")
    elif trick == "file":
        null.write_text("not a device")
    try:
        found = mounts(home, bundle)
    except AssertionError:
        return  # refused: nothing runs
    assert "/proc/keys" in found
    root, kind = found["/proc/keys"]
    assert kind != "proc" and "domainname" not in root
    done = home.call("exec", bundle.id, "sh", "-c", "head -c 20 /proc/keys | wc -c")
    assert done.stdout.strip() == "0"
    read_only = ": >> /proc/sys/kernel/domainname"
    assert "Read-only" in home.call("exec", bundle.id, "sh", "-c", read_only).stderr


def test_cve_2025_31133_dev_null_swapped_while_masking(home: OciHome) -> None:
    devices = home.place / "devices"
    devices.mkdir()
    os.mknod(devices / "null", 0o666 | 0o020000, os.makedev(1, 3))
    (devices / "other").symlink_to("/proc/sys/kernel/domainname")
    done = threading.Event()
    racer = threading.Thread(target=swap, args=(devices / "null", devices / "other", done))
    racer.start()
    try:
        for _ in range(15):
            bundle = shell(home, "cat /proc/self/mountinfo; echo x > /proc/sys/kernel/domainname")
            bundle.config["mounts"][1] = {
                "destination": "/dev",
                "source": str(devices),
                "options": ["bind", "rw"],
            }
            del bundle.config["mounts"][2]
            found = home.run(bundle)
            masks = [line for line in found.stdout.splitlines() if " /proc/k" in line]
            assert not any("domainname" in line for line in masks), found.stdout
            assert not found.stdout or "Read-only" in found.stderr, found.stderr
    finally:
        done.set()
        racer.join()


def console(home: OciHome, bundle: Bundle) -> subprocess.CompletedProcess[str]:
    """Create and start a container with a terminal; its output is what stands on it."""
    bundle.process["terminal"] = True
    bundle.save()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{bundle.path}/console")
        server.listen()
        words = ("--bundle", bundle.path, "--console-socket", bundle.path / "console")
        creating = subprocess.Popen(
            home.argv("create", *words, bundle.id), stderr=subprocess.PIPE, text=True
        )
        assert creating.stderr is not None
        ended = os.pidfd_open(creating.pid)
        ready, _, _ = select.select([server.fileno(), ended], [], [], 60)
        os.close(ended)
        assert ready, "create neither sent its terminal nor ended within 60 s"
        if server.fileno() not in ready:
            return subprocess.CompletedProcess([], creating.wait(), *creating.communicate())
        peer, _ = server.accept()
        with peer:
            _, fds, _, _ = socket.recv_fds(peer, 100, 1)
        status, told = creating.wait(60), creating.stderr.read()
        creating.stderr.close()
    if status == 0:
        home.call("start", bundle.id)
    for fd in fds:
        os.close(fd)
    return subprocess.CompletedProcess([], status, "", told)


@pytest.mark.parametrize("where", ["/proc/sysrq-trigger", "/secret"])
def test_cve_2025_52565_dev_console_is_a_link(home: OciHome, where: str) -> None:
    bundle = home.bundle("sleep", "1000")
    del bundle.config["mounts"][1:3]
    bundle.config["mounts"].append(
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["newinstance"],
        }
    )
    (bundle.rootfs / "dev/pts").mkdir()
    (bundle.rootfs / "dev/console").symlink_to(f"{'../' * 30}{where}")
    done = console(home, bundle)
    if done.returncode != 0:
        return  # refused
    state = json.loads(home.call("state", bundle.id).stdout)
    lines = Path(f"/proc/{state['pid']}/mountinfo").read_text().splitlines()
    targets = {line.split()[4]: line for line in lines}
    assert " rw," not in targets.get("/proc/sysrq-trigger", "")
    assert "devpts" not in targets.get("/proc/sysrq-trigger", "")


@pytest.mark.parametrize("fake", ["directory", "link"])
def test_cve_2025_52881_a_write_to_proc_goes_to_proc(home: OciHome, fake: str) -> None:
    forged = home.place / "forged"
    (forged / "kernel").mkdir(parents=True)
    if fake == "directory":
        (forged / "kernel/domainname").write_text("untouched")
    else:
        (forged / "kernel/domainname").symlink_to("/somewhere")
    bundle = shell(home, "cat /somewhere 2>/dev/null; cat /proc/sys/kernel/domainname")
    bundle.config["mounts"].append(
        {"destination": "/proc/sys", "source": str(forged), "options": ["bind", "rw"]}
    )
    (bundle.rootfs / "somewhere").write_text("untouched")
    bundle.linux["sysctl"] = {"kernel.domainname": "written"}
    bundle.linux["readonlyPaths"] = []
    done = home.run(bundle)
    assert (bundle.rootfs / "somewhere").read_text() == "untouched"
    if fake == "directory":
        assert (forged / "kernel/domainname").read_text() == "untouched"
    assert done.returncode != 0 or "written" not in done.stdout


# --- /proc and /sys from inside -----------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/sys/kernel/uevent_helper",
        "/sys/kernel/mm/ksm/run",
    ],
)
def test_kernel_settings_are_read_only(home: OciHome, path: str) -> None:
    done = home.run(shell(home, f"[ -e {path} ] || exit 9; : >> {path}"))
    assert done.returncode == 9 or "Read-only file system" in done.stderr


def test_masks_cannot_be_taken_off(home: OciHome) -> None:
    script = "umount /proc/keys; umount /proc; mount -o remount,rw /proc/sys; mount -t proc p /work"
    done = home.run(shell(home, script))
    assert done.stderr.count("ermission denied") + done.stderr.count("not permitted") >= 3


def test_a_new_user_namespace_gets_no_fresh_proc(home: OciHome) -> None:
    script = "mount -t proc proc /work && head -c 1 /work/keys | grep -q . && echo seen"
    done = home.run(home.bundle("busybox", "unshare", "-Urmpf", "sh", "-c", script))
    assert done.returncode != 0 and "seen" not in done.stdout


def test_masked_paths_that_are_links_stay_inside(home: OciHome) -> None:
    outside = home.place / "outside"
    outside.mkdir()
    (outside / "file").write_text(SECRET)
    bundle = shell(home, "cat /hidden/file")
    (bundle.rootfs / "hidden").symlink_to(f"{'../' * 30}{outside}")
    bundle.linux["maskedPaths"] = ["/hidden"]
    bundle.linux["readonlyPaths"] = ["/hidden"]
    done = home.run(bundle)
    assert SECRET not in done.stdout
    assert (outside / "file").read_text() == SECRET


def test_a_root_that_is_a_link_out_of_the_bundle_is_named(home: OciHome) -> None:
    bundle = shell(home, "cat /secret")
    bundle.config["root"]["path"] = "gone"
    done = home.run(bundle)
    assert done.returncode != 0 and "gone" in done.stderr


@pytest.mark.requires("root")
def test_the_hosts_disks_are_closed(home: OciHome) -> None:
    device = os.stat("/").st_dev
    script = f"mknod /disk b {os.major(device)} {os.minor(device)} && head -c 1 /disk"
    bundle = shell(home, script)
    bundle.linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    done = home.run(bundle)
    assert done.returncode != 0 and "not permitted" in done.stderr


def test_signals_do_not_leave(home: OciHome) -> None:
    bystander = subprocess.Popen(["sleep", "1000"])
    try:
        home.run(shell(home, f"kill -9 {bystander.pid}; kill -9 -1"))
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
