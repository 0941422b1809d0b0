"""The only code that talks to Linux: system calls, pseudo-files, netlink, nftables, terminals."""
