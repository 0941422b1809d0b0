"""`labcontainer COMMAND …`: finds the command's module, runs it, and tells an error once.

A command is the module `cli/COMMAND.py` with `configure(parser)` and `run(args) -> exit status`.
Small ones share the module of their noun (MODULES), as `configure_COMMAND` and `run_COMMAND`.
Nothing else is imported than the command that was asked for. A module with `parse(words)` of its
own is spared argparse. A module's FAILURE is its exit status for errors that name none themselves.
"""

from __future__ import annotations

import os
import sys

from labcontainer import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

SUMMARY = "A container engine in Python, small enough to read in a course and real enough to use."
COMMANDS = {
    "run": "run a program in a new container",
    "build": "build an image from a Dockerfile",
    "builder": "what builds have remembered, and forgetting it",
    "image": "all that is about images; base images of this machine's own programs",
    "images": "list images",
    "search": "look for images in a registry's index",
    "pull": "get an image from its registry",
    "push": "send an image to its registry",
    "rmi": "remove images",
    "tag": "give an image one more name",
    "history": "list the instructions that made an image",
    "save": "write images into a file",
    "load": "read images from a file",
    "export": "write all files of a container into a tar archive",
    "import": "make an image of a root file system in a tar archive",
    "login": "prove who you are to a registry",
    "logout": "forget who you are for a registry",
    "registry": "serve a registry of your own",
    "completion": "a script by which a shell completes these commands",
    "daemon": "serve the Docker Engine API",
    "doctor": "tell what this machine can do, and the fix where it can't",
    "compose": "make, start and stop projects of several services",
    "cluster": "keep services running on several daemons",
    "node": "list and change the daemons of a cluster",
    "service": "want services on a cluster, list them and their tasks",
    "vm": "boot a kernel as an ordinary process",
    "bench": "measure a process, a container and a virtual machine side by side",
    "lab": "give out the course, collect and grade it; its Jupyter kernel with a machine",
    "up": "start the lab in a Linux of its own: macOS, Windows, or Linux with an engine",
    "container": "all that is about containers, by the long names",
    "create": "make a container without starting it",
    "attach": "connect the terminal to a running container",
    "commit": "make an image of what a container has changed",
    "cp": "copy files between here and a container",
    "exec": "run one more program in a running container",
    "kill": "send a signal to containers",
    "logs": "print what a container has said",
    "pause": "freeze all processes of containers",
    "rename": "give a container another name",
    "restart": "stop and start containers",
    "rm": "remove containers",
    "start": "start containers that were created or have ended",
    "stop": "ask containers to end, and kill those that do not",
    "unpause": "let frozen containers go on",
    "update": "change the limits of containers",
    "network": "make, list, join and remove networks",
    "volume": "make, list and remove volumes",
    "system": "how much room is used, and freeing it",
    "ps": "list containers",
    "inspect": "show all that is known of something",
    "port": "list where a container's ports are on the host",
    "top": "list a container's processes",
    "diff": "list what a container has changed in its files",
    "stats": "show what containers use, as they run",
    "events": "print what happens, as it happens",
    "info": "what the daemon says of itself and its machine",
    "version": "the versions of this command and the daemon",
    "wait": "wait until containers have ended",
}
# Commands that live in the module of their noun.
MODULES = {
    **dict.fromkeys(("images", "rmi", "tag", "history"), "images"),
    **dict.fromkeys("pull push save load export import login logout".split(), "transfer"),
    "container": "groups",
    "network": "networks",
    "volume": "volumes",
    "node": "nodes",
    "service": "services",
    **dict.fromkeys("diff events info inspect port ps top version".split(), "looking"),
    **dict.fromkeys(("attach", "exec", "logs"), "sessions"),
    **dict.fromkeys(("cp", "commit"), "copying"),
    **dict.fromkeys(
        "kill pause rename restart rm start stop unpause update wait".split(), "lifecycle"
    ),
}
GROUPS = ("container", "image", "builder")  # where verbs are other names of commands
USAGE_STATUS = 2


def module_of(command: str) -> ModuleType:
    """The module of a command."""
    name = f"labcontainer.cli.{MODULES.get(command, command)}"
    __import__(name)  # importlib would do the same, and be imported for it
    return sys.modules[name]


def part_of(command: str, module: ModuleType, part: str) -> Callable[[Any], Any]:
    """A command's `configure` or `run`."""
    name = f"{part}_{command}"
    found: Callable[[Any], Any] = getattr(module, name if hasattr(module, name) else part)
    return found


def parser_of(command: str) -> ArgumentParser:
    """The argument parser of one command, as the documentation's test reads it."""
    import argparse

    parser = argparse.ArgumentParser(
        prog=f"labcontainer {command}",
        description=COMMANDS[command],
        allow_abbrev=False,
        conflict_handler="resolve",  # docker run's -h is --hostname
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    part_of(command, module_of(command), "configure")(parser)
    return parser


def help_text() -> str:
    """What `labcontainer --help` prints."""
    lines = ["usage: labcontainer [--debug] COMMAND …", "", SUMMARY, "commands:"]
    lines += [f"  {name:9} {text}" for name, text in COMMANDS.items()]
    lines += ["", "options:"]
    lines += ["  --debug    on an error the Python traceback too; every kernel call, as it is made"]
    lines += ["  --version  the version", "  --help     this text; after a command, the command's"]
    return "\n".join(lines)


def version() -> str:
    """The installed version, or that of the source tree."""
    from importlib import metadata

    from labcontainer.cli import start

    start.add_site_packages()
    try:
        return metadata.version("labcontainer")
    except metadata.PackageNotFoundError:
        return "from a source tree"


def main(words: list[str] | None = None) -> int:
    """Run the command line; the exit status."""
    words = sys.argv[1:] if words is None else words
    debug = False
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option == "--debug":
            debug = True
        elif option in ("--version", "-v"):
            print(f"labcontainer version {version()}")
            return 0
        elif option in ("--help", "-h"):
            print(help_text())
            return 0
        else:
            return _usage(f"unknown option {option}")
    if not words:
        print(help_text(), file=sys.stderr)
        return USAGE_STATUS
    if words[0] == "help":
        words = [*words[1:2], "--help"]
        return main(words)
    if words[0] in GROUPS:
        from labcontainer.cli import groups

        words = groups.shortened(words)
    if words[0] not in COMMANDS:
        return _usage(f"unknown command {words[0]!r}")
    return _told(words[0], words[1:], debug)


def _usage(problem: str) -> int:
    print(f"labcontainer: {problem}; see labcontainer --help", file=sys.stderr)
    return USAGE_STATUS


def _told(command: str, words: list[str], debug: bool) -> int:
    """Run one command; an error becomes one line and an exit status, here and nowhere else."""
    module = None
    try:
        if debug:
            _watch_kernel_calls()
        module = module_of(command)
        return int(part_of(command, module, "run")(_arguments(command, module, words)))
    except (errors.LabError, OSError) as error:
        if isinstance(error, BrokenPipeError) and error.filename is None:
            _forget_output()  # whoever read our output has gone: head(1) is no failure
            return 141
        if debug:
            import traceback

            traceback.print_exc()
        print(f"labcontainer: {one_line(error)}", file=sys.stderr)
        status = getattr(error, "exit_status", 1)
        return int(getattr(module, "FAILURE", 1) if status == 1 else status)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if debug:
            raise
        fault = f"a fault of labcontainer's own: {type(error).__name__}: {one_line(error)}"
        where = f"labcontainer --debug {command} … shows where"
        print(f"labcontainer: {fault}; {where}", file=sys.stderr)
        return int(getattr(module, "FAILURE", 1))


def _arguments(command: str, module: ModuleType, words: list[str]) -> Any:
    if not hasattr(module, "parse"):
        return parser_of(command).parse_args(words)
    return module.parse(words) or parser_of(command).parse_args(["--help"])


def one_line(error: BaseException) -> str:
    """An error's text in one line, with what was added to it on the way."""
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.errno and error.strerror and error.filename:
        text = f"{error.filename}: {error.strerror}"
    notes = getattr(error, "__notes__", [])
    from labcontainer.cli import format as form  # a daemon's or a registry's words are in it

    return form.printable("; ".join(" ".join(part.split()) for part in (text, *notes)))


def _watch_kernel_calls() -> None:
    from labcontainer.kernel import trace

    def show(_name: str, shown: str, result: int | OSError) -> None:
        outcome = f"-1 {result.strerror}" if isinstance(result, OSError) else str(result)
        os.write(2, f"[{os.getpid()}] {shown} = {outcome}\n".encode(errors="replace"))

    trace.watchers.append(show)


def _forget_output() -> None:
    """Point standard output at nothing, so that flushing it at the end can't fail again."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)


if __name__ == "__main__":
    sys.exit(main())
