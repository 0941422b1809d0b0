"""The doctor's probes: each does the thing, in a child process that ends right after.

A probe returns nothing where the thing works (or a word about it), and raises `No(cause, fix)`
or an OSError where it does not. It may leave namespaces, mount and lose rights: its process is its
own.
Started by `lab.doctor` as `python -m labcontainer.lab.probes NAME …`.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from labcontainer.kernel import classic_bpf, files, syscalls
from labcontainer.kernel.flags import AT, CLONE, FSCONFIG, MOUNT_ATTR, MS, PR
from labcontainer.lab import limits, sandbox

UML_FIX = "the lab's user-mode kernel does it: apt install user-mode-linux"
ROOT_FIX = "become root (sudo), or use the user-mode kernel: apt install user-mode-linux"
Probe = Callable[[], "str | None"]


class No(Exception):
    """The thing does not work: why, and what would help."""

    def __init__(self, cause: str, fix: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.fix = fix


def _sysctl(path: str) -> str:
    try:
        return files.read(f"/proc/sys/{path}").strip()
    except OSError:
        return ""


def _status(field: str) -> str:
    for line in files.read("/proc/self/status").splitlines():
        if line.startswith(f"{field}:"):
            return line.split(None, 1)[1]
    return ""


# --- the user -----------------------------------------------------------------------------------


def root() -> str:
    """Real root with CAP_SYS_ADMIN in the first user namespace."""
    if os.geteuid():
        raise No(f"you are user {os.geteuid()}, not root", ROOT_FIX)
    if not int(_status("CapEff"), 16) >> 21 & 1:
        raise No("root without CAP_SYS_ADMIN, as in a container", "docker run --privileged, or "
                 + UML_FIX)  # fmt: skip
    if files.read("/proc/self/uid_map").split() != ["0", "0", "4294967295"]:
        raise No("root of a user namespace only", ROOT_FIX)
    return "all of Linux is yours"


def userns() -> None:
    """A user namespace of one's own, with a map."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        syscalls.unshare(CLONE.NEWUSER)
        files.write("/proc/self/setgroups", "deny")
        files.write("/proc/self/gid_map", f"0 {gid} 1")
        files.write("/proc/self/uid_map", f"0 {uid} 1")
        # AppArmor's rule lets the namespace be made and takes its rights: try to use one.
        syscalls.unshare(CLONE.NEWUTS)
        syscalls.sethostname("lab")
    except OSError as error:
        raise _userns_refused(error) from error


def _userns_refused(error: OSError) -> No:
    """Which of the five known switches says no."""
    if _sysctl("kernel/unprivileged_userns_clone") == "0":
        return No("kernel.unprivileged_userns_clone is 0",
                  "sudo sysctl kernel.unprivileged_userns_clone=1")  # fmt: skip
    if _sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return _apparmor_no()
    if _sysctl("user/max_user_namespaces") == "0":
        return No("user.max_user_namespaces is 0", "sudo sysctl user.max_user_namespaces=10000")
    if _status("Seccomp") == "2":
        return No("a seccomp filter, such as Docker's default, refuses unshare",
                  "start the outer container with --security-opt seccomp=unconfined, or "
                  + UML_FIX)  # fmt: skip
    if error.errno == errno.EINVAL:
        return No("this kernel has no user namespaces (CONFIG_USER_NS)", UML_FIX)
    return No(str(error), UML_FIX)


def _apparmor_no() -> No:
    return No(
        "kernel.apparmor_restrict_unprivileged_userns is 1 (Ubuntu 23.10 and later)",
        "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with "
        "`userns,` for this Python",
    )


def apparmor_userns() -> str:
    """That AppArmor does not restrict user namespaces."""
    if os.geteuid() and _sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
        raise _apparmor_no()
    return "no restriction by AppArmor"


def sandbox_probe() -> str:
    """The namespaces that the notebooks' helper and the checks live in."""
    parent = os.getppid()
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ready)
        mode = sandbox.enter(os.getppid())
        os.write(done, mode.encode())
        os._exit(0)
    os.close(done)
    mode = os.read(ready, 16).decode()
    os.waitpid(pid, 0)
    if mode not in ("root", "user"):
        del parent
        userns()  # says why, if that is the reason
        raise No("the namespaces can't be made", UML_FIX)
    return "as root" if mode == "root" else "in a user namespace"


def cap_sys_resource() -> None:
    """Raising a hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard + 1))
    except (OSError, ValueError) as error:
        fix = "nothing in the course needs it; engines set default ulimits lower"
        raise No(f"a hard limit can't be raised ({error})", fix) from error


def newuidmap() -> str:
    """A map with sub-ids, written by the setuid programs."""
    if not shutil.which("newuidmap"):
        raise No("newuidmap is not installed", "apt install uidmap")
    uid, pid = os.geteuid(), _paused(CLONE.NEWUSER)
    ranges = sandbox._ranges("/etc/subuid", uid)
    try:
        rows = ["0", str(uid), "1"]
        if ranges:
            rows += ["1", str(ranges[0][0]), str(ranges[0][1])]
        _run("newuidmap", str(pid), *rows)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if not ranges and uid:
        raise No("no range for you in /etc/subuid", "sudo usermod --add-subuids 100000-165535 "
                 "--add-subgids 100000-165535 $USER")  # fmt: skip
    return f"{ranges[0][1]} sub-ids" if ranges else "root needs no sub-ids"


def _paused(flags: int) -> int:
    """A child that has left these namespaces and sleeps."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            syscalls.unshare(flags)
            os.write(done, b"1")
            time.sleep(20)
        finally:
            os._exit(1)
    os.close(done)
    os.read(ready, 1)
    os.close(ready)
    return pid


# --- namespaces and mounts ----------------------------------------------------------------------


def _with_rights(flags: int) -> None:
    """Leave namespaces as root, else as root of a new user namespace."""
    try:
        syscalls.unshare(flags)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        userns()
        syscalls.unshare(flags)


def _own_mounts() -> str:
    """A private mount namespace with a tmpfs; its path."""
    _with_rights(CLONE.NEWNS)
    syscalls.mount(None, "/", None, MS.REC | MS.PRIVATE)
    syscalls.mount("probe", "/mnt", "tmpfs")
    return "/mnt"


def mount() -> None:
    """A tmpfs in a mount namespace."""
    _own_mounts()


def overlay() -> None:
    """The overlay file system, as root."""
    if os.geteuid():
        raise No(f"you are user {os.geteuid()}", "see overlay-userns for overlays of your own")
    _try_overlay(_own_mounts())


def overlay_userns() -> None:
    """The overlay file system in a user namespace."""
    userns()
    try:
        _try_overlay(_own_mounts())
    except OSError as error:
        if error.errno == errno.EPERM:
            raise No("this kernel allows no overlay in a user namespace (it came with 5.11)",
                     "the lab copies the files instead") from error  # fmt: skip
        raise


def _try_overlay(top: str) -> None:
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(f"{top}/{name}")
    with open(f"{top}/lower/file", "w") as file:
        file.write("below")
    data = f"lowerdir={top}/lower,upperdir={top}/upper,workdir={top}/work"
    try:
        syscalls.mount("overlay", f"{top}/merged", "overlay", 0, data)
    except OSError as error:
        if error.errno == errno.ENODEV:
            raise No("this kernel has no overlay", "sudo modprobe overlay") from error
        raise
    os.unlink(f"{top}/merged/file")


def netns() -> None:
    """A network namespace."""
    _with_rights(CLONE.NEWNET)


def timens() -> None:
    """A time namespace."""
    if not os.path.exists("/proc/self/ns/time"):
        raise No("this kernel has no time namespaces (they came with 5.6)", "a newer kernel")
    _with_rights(CLONE.NEWTIME)


def bridge() -> None:
    """A bridge with one end of a veth pair in it, in a network namespace."""
    netns()
    _link_by_hand()


def _link_by_hand() -> None:
    """ip(8) where there is one; else our own netlink."""
    tool = shutil.which("ip") or ("/usr/sbin/ip" if os.path.exists("/usr/sbin/ip") else "")
    if not tool:
        raise No("the ip command is not installed", "apt install iproute2")
    _run(tool, "link", "add", "lc-br", "type", "bridge")
    _run(tool, "link", "add", "lc-a", "type", "veth", "peer", "name", "lc-b")
    _run(tool, "link", "set", "lc-a", "master", "lc-br")


def nft() -> str:
    """A table with a NAT rule, in a network namespace."""
    netns()
    tool = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if tool is None:
        raise No("nft is not installed", "apt install nftables")
    rules = ("table ip labcontainer-probe { chain c { type nat hook postrouting priority 100; "
             "ip saddr 10.0.0.0/8 masquerade; }\n}\n")  # fmt: skip
    try:
        _run(tool, "-f", "-", text=rules)
    except No as no:
        raise No(no.cause, "use a kernel with CONFIG_NF_TABLES_IPV4; networks work without NAT"
                 ) from no  # fmt: skip
    return "masquerade works"


def ipv6() -> None:
    """An IPv6 address on the loopback."""
    import socket

    if not socket.has_ipv6 or not os.path.exists("/proc/sys/net/ipv6"):
        raise No("this kernel has no IPv6", "networks of the lab are IPv4 only then")
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as listener:
        try:
            listener.bind(("::1", 0))
        except OSError as error:
            raise No(f"::1 can't be bound ({error.strerror})",
                     "sudo sysctl net.ipv6.conf.lo.disable_ipv6=0") from error  # fmt: skip


# --- kernel calls -------------------------------------------------------------------------------


def _has(call: Callable[[], object], name: str, since: str) -> None:
    """Make a call; ENOSYS means that the kernel is older than it."""
    try:
        call()
    except OSError as error:
        if error.errno == errno.ENOSYS:
            raise No(f"this kernel has no {name} (it came with {since})", "a newer kernel; the lab "
                     "falls back to older calls") from error  # fmt: skip
        raise


def seccomp() -> None:
    """A filter that lets all through, installed without privileges."""
    allow = (0x06).to_bytes(2, "little") + bytes(2) + (0x7FFF0000).to_bytes(4, "little")
    syscalls.prctl(PR.SET_NO_NEW_PRIVS, 1)
    classic_bpf.install(allow)


def landlock() -> str:
    """The Landlock calls; their version."""
    try:
        return f"ABI {syscalls.landlock_create_ruleset(None, 1)}"
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP):
            fix = "boot with lsm=landlock,… (CONFIG_SECURITY_LANDLOCK, 5.13)"
            raise No("this kernel has no Landlock, or it is off", fix) from error
        raise


def openat2() -> None:
    """openat2 with RESOLVE_IN_ROOT."""
    _has(lambda: syscalls.openat2(AT.FDCWD, "/", os.O_PATH, 0, 0x10), "openat2", "5.6")


def clone3() -> None:
    """clone3 that gives a pidfd."""

    def call() -> None:
        pid, _ = syscalls.clone3(0, want_pidfd=True)
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)

    _has(call, "clone3", "5.3")


def pidfd() -> None:
    """A descriptor for a process."""
    _has(lambda: syscalls.pidfd_open(os.getpid()), "pidfd_open", "5.3")


def mount_api() -> None:
    """fsopen, fsconfig, fsmount: a detached tmpfs."""
    _with_rights(CLONE.NEWNS)

    def call() -> None:
        context = syscalls.fsopen("tmpfs")
        syscalls.fsconfig(context, FSCONFIG.CMD_CREATE, None, None)
        syscalls.fsmount(context)

    _has(call, "fsmount", "5.2")


def idmapped_mounts() -> None:
    """A mount whose owners are mapped by a user namespace."""
    if os.geteuid():
        raise No("only root can map the owners of a mount of the host", ROOT_FIX)
    top, pid = _own_mounts(), _paused(CLONE.NEWUSER)
    try:
        files.write(f"/proc/{pid}/uid_map", "0 100000 1000")
        files.write(f"/proc/{pid}/gid_map", "0 100000 1000")
        os.mkdir(f"{top}/tree")
        tree = syscalls.open_tree(AT.FDCWD, top, 1 | os.O_CLOEXEC)
        inside = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
        set_map = lambda: syscalls.mount_setattr(  # noqa: E731
            tree, "", AT.EMPTY_PATH, attr_set=MOUNT_ATTR.IDMAP, userns_fd=inside
        )
        try:
            _has(set_map, "mount_setattr", "5.12")
        except OSError as error:
            raise No(f"tmpfs can't be id-mapped here ({error.strerror}; it came with 6.3)",
                     "the lab changes the owners of a copy instead") from error  # fmt: skip
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


# --- cgroups ------------------------------------------------------------------------------------


def _cgroup_mounts() -> list[tuple[str, str, str]]:
    """(mount point, kind, options) of each cgroup hierarchy."""
    rows = [line.split() for line in files.read("/proc/self/mounts").splitlines()]
    return [(row[1], row[2], row[3]) for row in rows if row[2] in ("cgroup", "cgroup2")]


def cgroup_v1() -> str:
    """Controllers of version 1."""
    known = ("memory", "cpu", "pids", "freezer", "devices", "blkio", "cpuset")
    found = [name for name in known for _, kind, options in _cgroup_mounts()
             if kind == "cgroup" and name in options.split(",")]  # fmt: skip
    if not found:
        raise No("no version 1 hierarchy is mounted", "none needed: version 2 is the newer one")
    return ", ".join(found)


def cgroup_v2() -> str:
    """Version 2 with the controllers that the course uses."""
    for point, kind, _ in _cgroup_mounts():
        if kind == "cgroup2":
            found = files.read(f"{point}/cgroup.controllers").split()
            if "memory" in found and "pids" in found:
                return ", ".join(found)
            raise No(f"{point} has only: {', '.join(found) or 'no controller'}",
                     "boot with systemd.unified_cgroup_hierarchy=1, or " + UML_FIX)  # fmt: skip
    raise No("no version 2 hierarchy is mounted", UML_FIX)


def cgroup_write() -> str:
    """Making a group in the hierarchy of the memory controller."""
    reasons = []
    for point, kind, options in _cgroup_mounts():
        if kind == "cgroup" and "memory" not in options.split(","):
            continue
        for parent in dict.fromkeys((point, point + _own_group(kind))):
            path = f"{parent.rstrip('/')}/labcontainer-probe-{os.getpid()}"
            try:
                os.mkdir(path)
                os.rmdir(path)
                return f"below {parent}"
            except OSError as error:
                reasons.append(f"{parent}: {error.strerror}")
    if not reasons:
        raise No("no cgroup hierarchy is mounted", UML_FIX)
    raise No(reasons[-1], "systemd-run --user --scope -p Delegate=yes jupyter lab, or root, or "
             + UML_FIX)  # fmt: skip


def _own_group(kind: str) -> str:
    for line in files.read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if (kind == "cgroup2" and not controllers) or "memory" in controllers.split(","):
            return path
    return "/"


# --- programs -----------------------------------------------------------------------------------


def _run(*argv: str, text: str = "", timeout: float = 15) -> str:
    """A program's output; No if it can't run or ends badly."""
    try:
        ended = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=timeout,
                               check=False)  # fmt: skip
    except subprocess.TimeoutExpired:
        fix = f"see why {argv[0]} hangs, by hand"
        raise No(f"{argv[0]} did not end in {timeout:g} s", fix) from None
    if ended.returncode:
        said = ended.stderr.strip() or ended.stdout.strip() or f"status {ended.returncode}"
        fix = f"mend that; `{' '.join(argv)}` must end well"
        raise No(f"{os.path.basename(argv[0])}: {said.splitlines()[0]}", fix)
    return ended.stdout.strip()


def _program(package: str, *argv: str) -> Probe:
    """A probe that runs a program with arguments that make it do little."""

    def probe() -> str:
        path = shutil.which(argv[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if path is None:
            raise No(f"{argv[0]} is not installed", f"apt install {package}")
        said = _run(path, *argv[1:])
        return said.splitlines()[0][:70] if said else ""

    return probe


def slirp4netns() -> str:
    """The program, and the tun device that it needs."""
    said = _program("slirp4netns", "slirp4netns", "--version")() or ""
    _open_tun()
    return said


def _open_tun() -> None:
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        raise No(f"/dev/net/tun: {error.strerror}",
                 "sudo modprobe tun; in a container: --device /dev/net/tun") from error  # fmt: skip


def pasta() -> str:
    """The program, and the tun device that it needs."""
    said = _program("passt", "pasta", "--version")() or ""
    _open_tun()
    return said


def busybox() -> str:
    """busybox, statically linked, as a root file system wants it."""
    path = shutil.which("busybox")
    if path is None:
        raise No("busybox is not installed", "apt install busybox-static")
    _run(path, "true")
    with open(path, "rb") as file:
        linked = b"/lib64/ld-linux" in file.read(4096) or b"/lib/ld-" in file.read(4096)
    return "needs libraries: apt install busybox-static is better" if linked else "static"


def chromium() -> str:
    """A page rendered without a window."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        raise No("chromium is not installed", "apt install chromium (only a test uses it)")
    _refuse_in_a_guest("a browser")
    with tempfile.TemporaryDirectory(prefix="labcontainer-probe-") as folder:
        _run(path, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}",
             "--dump-dom", "data:text/html,<p>lab</p>", timeout=40)  # fmt: skip
    return "renders a page"


# --- kernels in a process -----------------------------------------------------------------------


def uml() -> str:
    """User-mode Linux boots to user space: its init ends, and the kernel says so."""
    path = shutil.which("linux.uml") or shutil.which("linux")
    if path is None:
        raise No("user-mode Linux is not installed", "apt install user-mode-linux (x86-64 Debian)")
    _refuse_in_a_guest("one more")
    from labcontainer.vm import boot

    with tempfile.TemporaryDirectory(prefix="labcontainer-probe-") as folder:
        line = [path, "mem=64M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro",
                "init=/bin/true", "con=null", "con0=null,fd:1", "panic=-1", f"uml_dir={folder}",
                "umid=probe", *boot.QUICKER]  # fmt: skip
        said = _until(line, b"Attempted to kill init", 25, {"TMPDIR": folder})
    if b"Attempted to kill init" not in said:
        last = said.decode(errors="replace").strip().splitlines() or ["no word"]
        raise No(f"it did not boot: {last[-1][:80]}", "it needs ptrace or seccomp, and 64 MB in "
                 "TMPDIR that may be executed")  # fmt: skip
    version = said.partition(b"Linux version ")[2].split(b" ")[0].decode()
    return f"Linux {version} boots" if version else "boots"


def _refuse_in_a_guest(what: str) -> None:
    """Say no at once where the trial would take a minute, and end with no."""
    if limits.is_slow():
        raise No(f"this is a guest's kernel, where {what} takes minutes", "try it outside of it")


def _until(line: list[str], word: bytes, seconds: float, environment: dict[str, str]) -> bytes:
    """Run a program until it says a word, ends, or the time is over; all that it said."""
    process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, start_new_session=True,
                               env={**os.environ, **environment})  # fmt: skip
    assert process.stdout is not None
    said, limit = b"", time.monotonic() + seconds
    try:
        while word not in said and (left := limit - time.monotonic()) > 0:
            if not select.select([process.stdout], [], [], left)[0]:
                break
            data = os.read(process.stdout.fileno(), 4096)
            if not data:
                break
            said += data
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.stdout.close()
        process.wait()
    return said


# A boot sector: mov dx,0xf4; mov al,0x21; out dx,al; hlt. QEMU's isa-debug-exit device then ends
# with status 0x21 << 1 | 1 = 67.
_GUEST = bytes.fromhex("baf400b021eef4") + bytes(503) + b"\x55\xaa"
_GUEST_STATUS = 67


def _boots(accelerator: str, seconds: float) -> None:
    """Boot a guest of one sector that tells QEMU to end."""
    tool = shutil.which("qemu-system-x86_64")
    if tool is None:
        raise No("qemu-system-x86_64 is not installed", "apt install qemu-system-x86")
    with tempfile.TemporaryDirectory(prefix="labcontainer-probe-") as folder:
        disk = os.path.join(folder, "guest")
        with open(disk, "wb") as file:
            file.write(_GUEST)
        line = [tool, "-accel", accelerator, "-m", "16", "-display", "none", "-nodefaults",
                "-drive", f"file={disk},format=raw,if=ide", "-device",
                "isa-debug-exit,iobase=0xf4,iosize=4"]  # fmt: skip
        try:
            ended = subprocess.run(line, capture_output=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            raise No(f"a guest did not come up in {seconds:g} s", "QEMU without KVM does") from None
    if ended.returncode != _GUEST_STATUS:
        said = ended.stderr.decode(errors="replace").strip().splitlines() or ["no word"]
        raise No(f"a guest did not come up: {said[-1][:80]}", "QEMU without KVM does")


def kvm() -> str:
    """A guest under KVM, not only the device."""
    if not os.path.exists("/dev/kvm"):
        raise No("there is no /dev/kvm", "switch on virtualisation in the firmware; QEMU does "
                 "without")  # fmt: skip
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise No("/dev/kvm is closed to you", "sudo usermod --append --groups kvm $USER")
    _boots("kvm", 10)
    return _linux_by_kvm() or "a guest of one sector came up; there is no kernel to try"


def qemu() -> str:
    """A guest on QEMU's own CPU."""
    _boots("tcg", 20)
    return "a guest came up"


def _linux_by_kvm() -> str:
    """Boot Linux: where a machine is itself a guest, a sector may run and a kernel hang."""
    from labcontainer.errors import LabError, UnsupportedError
    from labcontainer.vm import kernels
    from labcontainer.vm import qemu as machines

    try:
        release = kernels.find().release
    except UnsupportedError:
        return ""
    guest = machines.Guest(machines.Machine(machines.KVM))
    try:
        guest.start(5)  # it takes one, or for ever
    except LabError as error:
        raise No(f"a sector runs, Linux does not: {error}", "QEMU without KVM does") from None
    guest.delete()
    return f"Linux {release} boots"


def vm_kernel() -> str:
    """A kernel that QEMU can boot."""
    from labcontainer.errors import UnsupportedError
    from labcontainer.vm import kernels

    try:
        found = kernels.find()
    except UnsupportedError as error:
        raise No(error.why, error.fix) from None
    return f"Linux {found.release}, {found.image}"


# --- the table ----------------------------------------------------------------------------------

PROBES: dict[str, Probe] = {
    "root": root,
    "userns": userns,
    "apparmor-userns": apparmor_userns,
    "sandbox": sandbox_probe,
    "mount": mount,
    "overlay": overlay,
    "overlay-userns": overlay_userns,
    "cgroup-v1": cgroup_v1,
    "cgroup-v2": cgroup_v2,
    "cgroup-write": cgroup_write,
    "netns": netns,
    "bridge": bridge,
    "nft": nft,
    "ipv6": ipv6,
    "seccomp": seccomp,
    "landlock": landlock,
    "timens": timens,
    "openat2": openat2,
    "clone3": clone3,
    "pidfd": pidfd,
    "mount-api": mount_api,
    "idmapped-mounts": idmapped_mounts,
    "cap-sys-resource": cap_sys_resource,
    "newuidmap": newuidmap,
    "slirp4netns": slirp4netns,
    "pasta": pasta,
    "busybox": busybox,
    "uml": uml,
    "qemu": qemu,
    "kvm": kvm,
    "vm-kernel": vm_kernel,
    "runc": _program("runc", "runc", "--version"),
    "crun": _program("crun", "crun", "--version"),
    "podman": _program("podman", "podman", "--version"),
    "containerd": _program("containerd", "containerd", "--version"),
    "dockerd": _program("docker.io", "dockerd", "--version"),
    "docker-cli": _program("docker.io", "docker", "--version"),
    "bwrap": _program("bubblewrap", "bwrap", "--version"),
    "strace": _program("strace", "strace", "-o", "/dev/null", "true"),
    "chromium": chromium,
}


def examine(probe: Probe) -> dict[str, object]:
    """What a probe says, as a row: ok, detail, cause, fix."""
    try:
        return {"ok": True, "detail": probe() or ""}
    except No as no:
        return {"ok": False, "cause": no.cause, "fix": no.fix}
    except OSError as error:
        fix = ROOT_FIX if error.errno in (errno.EPERM, errno.EACCES) else UML_FIX
        return {"ok": False, "cause": str(error), "fix": fix}


def in_child(probe: Probe, seconds: float = 60) -> dict[str, object]:
    """Examine in a forked child: whatever it does to itself ends with it."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(ours)
            os.write(theirs, json.dumps(examine(probe)).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    ready = select.select([ours], [], [], seconds)[0]
    said = os.read(ours, 65536) if ready else b""
    if not ready:
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(ours)
    row: dict[str, object] = json.loads(said) if said else {
        "ok": False, "cause": "the probe did not come to an end", "fix": ""}  # fmt: skip
    return row


def main() -> None:
    """Print one JSON line a probe."""
    sandbox.die_with_parent(int(sys.argv[1]))
    for name in sys.argv[2:]:
        print(json.dumps({"name": name, **in_child(PROBES[name])}), flush=True)


if __name__ == "__main__":
    main()
