"""The numbers of x32's system calls: x86_64's, with bit 30 set, but for these.

x32 is x86_64 with 32-bit pointers. It has a number of its own for a call whose structures hold
pointers or longs (from 512 on), and lacks a few old ones. Each line is a number and the names of
the calls from there on; the kernel keeps them in arch/x86/entry/syscalls/syscall_64.tbl.
"""

from __future__ import annotations

BIT = 0x40000000  # __X32_SYSCALL_BIT

RUNS = """
512 rt_sigaction rt_sigreturn ioctl readv writev recvfrom sendmsg recvmsg execve ptrace
522 rt_sigpending rt_sigtimedwait rt_sigqueueinfo sigaltstack timer_create mq_notify
528 kexec_load waitid set_robust_list get_robust_list vmsplice move_pages preadv pwritev
536 rt_tgsigqueueinfo recvmmsg sendmmsg process_vm_readv process_vm_writev setsockopt
542 getsockopt io_setup io_submit execveat preadv2 pwritev2
"""

ABSENT = """
_sysctl create_module epoll_ctl_old epoll_wait_old get_kernel_syms get_thread_area
nfsservctl query_module set_thread_area uprobe uselib vserver
"""
