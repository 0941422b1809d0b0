"""Docker's default profile: the calls that a container may make when nobody says otherwise.

The lists say what Docker's own profile permits (moby/profiles, seccomp/default.json); a capability
that the container was given opens the calls that it is good for.
"""

from __future__ import annotations

from labcontainer.kernel import syscalls
from labcontainer.seccomp_profile import ENOSYS, EPERM, NATIVE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

# Calls for everybody. Not here: mounting, new namespaces, kernel modules, keys, bpf, io_uring,
# clock setting, rebooting, swap, and what only very old programs used.
PERMITTED = """
_llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir
chmod chown chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range
creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2
epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2
fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32
fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat
fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64
futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd
getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32
getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32
getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday
getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1
inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup
io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset
landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr
listxattrat llistxattr lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack
membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall
mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64
mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync
munlock munlockall munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause
pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll
ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64
pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg
recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2
restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo
rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo
sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity
sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop
semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list
set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32
setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr
setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask
sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink
symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete
timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate
truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64
utimes vfork vmsplice wait4 waitid waitpid write writev
"""

# Since Linux 4.8 a tracer cannot get round the filter of what it traces: seccomp(2).
TRACING = "process_vm_readv process_vm_writev ptrace"

# Calls that a capability opens.
BY_CAPABILITY = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYS_ADMIN": (
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie"
        " lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount"
        " open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog"
        " umount umount2 unshare"
    ),
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": f"kcmp pidfd_getfd process_madvise {TRACING}",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYSLOG": "syslog",
}

BY_MACHINE = {
    "x86_64": "arch_prctl modify_ldt",
    "aarch64": (
        "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2"
    ),
}

# socket(2)'s families: all but those that had holes or reach past the network namespace, such as
# AF_ALG (38) and AF_VSOCK (40).
FAMILIES_BELOW = 12
FAMILIES = (13, 14, 15, 16, 17, 18, 21, 22, 24, *range(26, 34), 35, 36, 39, *range(41, 46))

# personality(2): PER_LINUX, PER_LINUX32, both with UNAME26, and the question for the present one.
PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)

# clone(2)'s NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET.
NEW_NAMESPACES = 0x7E020000

# The 32-bit architectures whose programs the machine also runs. Docker's profile opens them.
FOREIGN = {
    "SCMP_ARCH_X86_64": ("SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "SCMP_ARCH_AARCH64": ("SCMP_ARCH_ARM",),
}


def default_profile(
    capabilities: Iterable[str],
    machine: str = "",
    kernel: tuple[int, int] | None = None,
    *,
    foreign: bool = False,
) -> dict[str, Any]:
    """Docker's default profile as an OCI `linux.seccomp` object.

    `capabilities` are the names in the container's bounding set, `machine` a name as uname(2)
    gives it, `kernel` its release as two numbers; both default to this machine's. With `foreign`,
    32-bit programs may run, as under Docker; without, their calls are closed.
    """
    machine = machine or syscalls.MACHINE
    held = set(capabilities)
    native = NATIVE.get(machine, "SCMP_ARCH_NATIVE")
    names = [*PERMITTED.split(), *BY_MACHINE.get(machine, "").split()]
    if (kernel or running_kernel()) >= (4, 8):
        names += TRACING.split()
    for capability in sorted(held):
        names += BY_CAPABILITY.get(capability, "").split()
    rules = [
        _allow(names),
        _allow(["socket"], 0, FAMILIES_BELOW, "SCMP_CMP_LT"),
        *(_allow(["socket"], 0, family) for family in FAMILIES),
        *(_allow(["personality"], 0, persona) for persona in PERSONALITIES),
    ]
    if "CAP_SYS_ADMIN" not in held:
        rules.append(_allow(["clone"], 0, NEW_NAMESPACES, "SCMP_CMP_MASKED_EQ"))
        # clone3's flags are behind a pointer; ENOSYS makes libc take clone instead.
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS})
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": [native, *(FOREIGN.get(native, ()) if foreign else ())],
        "syscalls": rules,
    }


def running_kernel() -> tuple[int, int]:
    """This kernel's release, such as (6, 18)."""
    import os

    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(filter(str.isdigit, minor.split("-")[0])) or 0)


def _allow(
    names: Iterable[str], index: int = -1, value: int = 0, operator: str = "SCMP_CMP_EQ"
) -> dict[str, Any]:
    rule: dict[str, Any] = {"names": list(dict.fromkeys(names)), "action": "SCMP_ACT_ALLOW"}
    if index >= 0:
        rule["args"] = [{"index": index, "value": value, "op": operator}]
    return rule
