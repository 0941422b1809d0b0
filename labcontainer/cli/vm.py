"""`labcontainer vm run [FLAG …] -- COMMAND …`: a program under a kernel of its own."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.vm.guest import Guest

VERBS = ["run", "plan", "kernel"]
ACCELERATORS = {"qemu": "tcg", "kvm": "kvm"}


def configure(parser: ArgumentParser) -> None:
    """Add the command's words and options."""
    parser.add_argument("verb", choices=VERBS,
                        help="run a program, print the boot, fetch a kernel for QEMU")  # fmt: skip
    parser.add_argument("--machine", choices=["uml", *ACCELERATORS], default="uml",
                        help="user-mode Linux, QEMU's own processor, or QEMU with KVM")  # fmt: skip
    parser.add_argument("--image", default="", metavar="IMAGE",
                        help="the root of QEMU's guest: an image as a disk")  # fmt: skip
    parser.add_argument("--tree", default="", metavar="DIR",
                        help="the root of QEMU's guest: this directory, unchanged")  # fmt: skip
    parser.add_argument("--general", action="store_true",
                        help="fetch the general kernel, which can share directories")  # fmt: skip
    parser.add_argument("--memory", default="512M", metavar="SIZE", help="the guest's memory")
    parser.add_argument("--user", type=int, default=0, metavar="UID", help="who runs it, in there")
    parser.add_argument("--share", action="append", default=[], metavar="DIR",
                        help="a directory that the guest may write to")  # fmt: skip
    parser.add_argument("--workdir", default="/", metavar="DIR", help="where the program starts")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="end it after so long")
    parser.add_argument("command", nargs="*", metavar="-- COMMAND …")


def parse(words: list[str]) -> Namespace:
    """The arguments: all after `--` is the program's own, also what looks like one of our flags.

    argparse's REMAINDER would take our flags too, as they come after the verb.
    """
    cut = words.index("--") if "--" in words else len(words)
    parser = ArgumentParser(prog="labcontainer vm", allow_abbrev=False)
    configure(parser)
    args = parser.parse_args(words[:cut])
    args.command += words[cut + 1 :]
    return args


def run(args: Namespace) -> int:
    """Run the command in a guest; its exit status."""
    from labcontainer.errors import UsageError

    if args.machine == "uml" and (args.image or args.tree):
        raise UsageError("labcontainer vm: --image and --tree need --machine qemu or kvm")
    if args.image and args.tree:
        raise UsageError("labcontainer vm: one root, --image or --tree")
    if args.verb == "kernel":
        return _kernel(args.general)
    if args.verb == "plan":
        return _plan(args)
    if not args.command:
        raise UsageError("labcontainer vm run: no command; try: labcontainer vm run -- uname -a")
    return _run(args)


def _kernel(general: bool) -> int:
    from labcontainer.vm import kernels

    found = kernels.fetch(kernels.GENERAL if general else kernels.CLOUD)
    print(f"{found.image}: Linux {found.release}, modules {' '.join(found.modules)}")
    return 0


def _plan(args: Namespace) -> int:
    from labcontainer.vm import boot, initramfs, qemu, uml

    if args.machine == "uml":
        steps = boot.plan(uml.boot_of(uml.Machine(args.memory, _shares(args))))
    else:
        contents = qemu.contents_of(qemu.Machine(root=args.tree, share_rw=_shares(args)))
        if args.image:
            contents = contents.replace(root=initramfs.DISK)
        steps = initramfs.plan(contents)
    print("\n".join(str(step) for step in steps))
    return 0


def _run(args: Namespace) -> int:
    import tempfile

    from labcontainer.vm.guest import Program, printer

    program = Program(tuple(args.command), args.user, args.workdir)
    with (
        tempfile.TemporaryDirectory(prefix="labcontainer-vm-") as folder,
        _guest(args, folder) as guest,
    ):
        number = guest.exec(program, printer(1), printer(2))
        return guest.wait(number, args.timeout)


def _guest(args: Namespace, folder: str) -> Guest:
    """The machine, off; `folder` is for its disk."""
    from labcontainer.vm import qemu, uml

    if args.machine == "uml":
        return uml.Guest(uml.Machine(args.memory, _shares(args)))
    root = args.tree
    if args.image:
        from labcontainer.image.store import Store
        from labcontainer.vm import disk

        root = f"{folder}/root"
        disk.of_image(Store(), args.image, root)
    accelerator, shares = ACCELERATORS[args.machine], _shares(args)
    return qemu.Guest(qemu.Machine(accelerator, args.memory, root, share_rw=shares))


def _shares(args: Namespace) -> tuple[str, ...]:
    import os

    return tuple(os.path.abspath(one) for one in args.share)
