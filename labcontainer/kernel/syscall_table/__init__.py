"""Which number each system call has, one file an architecture. See syscalls(2)."""
