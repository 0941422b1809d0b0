"""How the guest comes up: the kernel's command line, and the script that its first process runs.

The script reaches the guest as a block device (/dev/ubda) that is a memory file of ours, so there
is nothing to put on the disk and nothing to take away. It stacks an overlay on the host's file
tree, makes that the root, mounts what a system has mounted, and becomes the agent (agent.py).
"""

from __future__ import annotations

import os
import shlex

from labcontainer.record import Record
from labcontainer.vm.guest import GUEST_ENV

SECTOR = 512
AGENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "agent.py")
MODULE_TREE = "/usr/lib/uml/modules"
# What the ladder asks of the kernel. Most would come by themselves, but only where the host has
# kmod, and never from inside a user namespace.
MODULES = (
    "llc stp bridge veth tun dummy ipv6 crc-ccitt br_netfilter nf_conntrack nf_nat nf_tables "
    "nft_masq nft_ct nft_redir nft_reject iptable_raw iptable_filter iptable_nat ip6table_raw "
    "ip6table_filter ip6table_nat xt_MASQUERADE xt_nat xt_conntrack xt_addrtype xt_comment "
    "xt_tcpudp fuse"
).split()
# What the kernel would do at its start for nobody: 1.3 of the 2.3 s of a boot.
QUICKER = (
    # each way to reckon a RAID's checksums, timed: by the function's name before 7 and since
    "initcall_blacklist=raid6_select_algo,raid6_init",
    "pty.legacy_count=0",  # BSD's terminals, 512 device files
    "lpj=4000000",  # how long a loop takes: there is no hardware to wait for by loops
    # From 6.16 on system calls are caught by a filter and a signal in place of ptrace, where the
    # host allows it: a third less processor time. Older kernels hand the word to the first process.
    "seccomp=auto",
)
CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids")


class Boot(Record):
    """What a guest is made of. `memory` is in the kernel's words, such as 512M."""

    kernel: str
    shell: tuple[str, ...]
    python: str
    memory: str = "512M"
    share_rw: tuple[str, ...] = ()
    hostname: str = "uml"


class Step(Record):
    """One step of the script. `optional`: a kernel without it still makes a useful guest."""

    what: str
    command: str
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.what}: {self.command}"


def command_line(boot: Boot, channel: int, script: int) -> list[str]:
    """The kernel's argv; `channel` and `script` are descriptors that it inherits.

    `uml_dir` is where it would leave its pid file and control socket, which a kill would not take
    away: no directory can be made in /proc, and the kernel goes on without.
    """
    return [
        boot.kernel, f"mem={boot.memory}", "root=/dev/root", "rootfstype=hostfs", "rootflags=/",
        "ro", "quiet", *QUICKER, "panic=-1", "uml_dir=/proc/", "con=null", "con0=null,fd:1",
        f"ssl0=fd:{channel}", f"ubd0r=/proc/self/fd/{script}", f"init={boot.shell[0]}", "--",
        *boot.shell[1:], "/dev/ubda",
    ]  # fmt: skip


def plan(boot: Boot) -> tuple[Step, ...]:
    """The steps of the guest's boot, in their order."""
    return (
        *_root(boot),
        *_file_systems(),
        *_shares(boot),
        *_services(boot),
        *_users(),
        _agent(boot),
    )


def _root(boot: Boot) -> list[Step]:
    mount = f"{boot.shell[0]} mount" if len(boot.shell) > 1 else "/bin/mount"
    overlay = f"{MODULE_TREE}/$(uname -r)/kernel/fs/overlayfs/overlay.ko"
    layers = "lowerdir=/,upperdir=/run/upper,workdir=/run/work"
    return [
        Step("a path to find programs on", f"export PATH={GUEST_ENV['PATH']}"),
        # By its path: busybox starts its own commands through /proc/self/exe, and until here
        # that is the host's /proc, whose "self" is the user-mode kernel.
        Step("processes", f"{mount} -n -t proc proc /proc"),
        Step("a file system that stays in memory", "mount -n -t tmpfs -o mode=0755 writes /run"),
        Step("its layers", "mkdir /run/upper /run/work /run/root"),
        Step("the overlay module", f"insmod {overlay}"),
        Step("host below, memory above", f"mount -n -t overlay -o {layers} overlay /run/root"),
        Step("the devices go along", "mount -n --move /dev /run/root/dev"),
        Step("the processes go along", "mount -n --move /proc /run/root/proc"),
        Step("stand in the new root", "cd /run/root"),
        Step("make it the root (pivot_root(2), NOTES)", "pivot_root . ."),
        Step("let the read-only one go", "umount -n -l ."),
        Step("stand in it by name", "cd /"),
    ]


def _file_systems() -> list[Step]:
    mount = "mount -t"
    return [
        Step("the kernel's objects", f"{mount} sysfs sysfs /sys"),
        Step("terminals' place", "mkdir -p /dev/pts /dev/shm /dev/mqueue"),
        Step("terminals", f"{mount} devpts -o mode=620,ptmxmode=666 devpts /dev/pts"),
        Step("shared memory", f"{mount} tmpfs -o mode=1777 shm /dev/shm"),
        Step("message queues", f"{mount} mqueue mqueue /dev/mqueue", True),
        Step("run-time files", f"{mount} tmpfs -o mode=755 run /run"),
        Step("temporary files", f"{mount} tmpfs -o mode=1777 tmp /tmp"),
        # An overlay can't lie on the root, which is one itself.
        Step("a place for images and containers", "mkdir -p /var/lib/labcontainer"),
        Step("in memory", f"{mount} tmpfs -o mode=755 kept /var/lib/labcontainer"),
        Step("control groups, version 2", f"{mount} cgroup2 cgroup2 /sys/fs/cgroup"),
        *[
            Step(f"controller {one}", f"echo +{one} > /sys/fs/cgroup/cgroup.subtree_control", True)
            for one in CONTROLLERS
        ],
        # as on a machine that systemd booted, so that tests meet what learners have
        Step("mounts propagate", "mount --make-rshared /"),
    ]


def _shares(boot: Boot) -> list[Step]:
    steps = []
    for path in boot.share_rw:
        where = shlex.quote(path)
        steps.append(Step(f"a place for {path}", f"mkdir -p {where}"))
        steps.append(Step(f"{path} of the host", f"mount -t hostfs -o {where} share {where}"))
    return steps


def _services(boot: Boot) -> list[Step]:
    modules = "/lib/modules/$(uname -r)"
    return [
        Step("where modprobe looks", f"mkdir -p {modules}"),
        Step("it finds them", f"mount --bind {MODULE_TREE}/$(uname -r) {modules}"),
        Step("what the kernel calls for a module", _modprobe(boot), True),
        Step("the modules", f"modprobe -q -a {' '.join(MODULES)}", True),
        Step("the loopback link", "ip link set lo up", True),
    ]


def _modprobe(boot: Boot) -> str:
    """busybox does for kmod, where the host has none."""
    return f"[ -e /sbin/modprobe ] || ln -s {shlex.quote(boot.shell[0])} /sbin/modprobe"


def _users() -> list[Step]:
    line = "grep -q '^[^:]*:[^:]*:1000:' /etc/passwd || echo learner:x:1000:1000::/tmp:/bin/sh"
    name = "$(sed -n 's/^\\([^:]*\\):[^:]*:1000:.*/\\1/p' /etc/passwd | head -n 1)"
    steps = [Step("an ordinary user", f"{line} >> /etc/passwd")]
    for file in ("/etc/subuid", "/etc/subgid"):
        had = f'grep -q "^{name}:" {file} 2>/dev/null'
        steps.append(Step(f"its ids in {file}", f"{had} || echo {name}:100000:65536 >> {file}"))
    return steps


def _agent(boot: Boot) -> Step:
    name = f"hostname {shlex.quote(boot.hostname)}"
    line = "stty -F /dev/ttyS0 raw -echo"
    words = shlex.join([boot.python, "-I", "-S", "-E", AGENT, "/dev/ttyS0"])
    return Step("the line to the host, and the agent", f"{name}; {line} && exec {words}")


def script(boot: Boot) -> bytes:
    """The plan as a shell script, filled up with empty lines to whole sectors.

    A step that fails ends the first process, which the kernel answers with a panic: the words on
    the console say which step it was.
    """
    lines = [line_of(step) for step in plan(boot)]
    text = "\n".join([*lines, ""]).encode()
    return text + b"\n" * (-len(text) % SECTOR)


def line_of(step: Step) -> str:
    """A step as a line of shell: it says its name and ends the boot where it fails."""
    if step.optional:
        return f"{{ {step.command}; }} 2>/dev/null || :"
    said = shlex.quote(f"labcontainer: boot failed at: {step.what}")
    return f"{step.command} || {{ echo {said}; exit 1; }}"
