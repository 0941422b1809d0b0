"""`labcontainer compose VERB …`: a project of services, by Docker Compose's words.

The verbs' words are in compose_words.py, what they do in compose_doing.py, compose_running.py and
compose_showing.py; what that stands on is the room compose/, which is loaded when a verb runs.
"""

from __future__ import annotations

from labcontainer import errors
from labcontainer.cli import compose_progress, compose_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable
    from types import ModuleType


def configure(parser: ArgumentParser) -> None:
    """Add the words of `labcontainer compose`."""
    add = parser.add_argument
    add("-f", "--file", action="append", default=[], metavar="FILE", help="a Compose file; - is "
        "standard input; several are merged")  # fmt: skip
    add("-p", "--project-name", default="", metavar="NAME", help="instead of the directory's")
    add("--profile", action="append", default=[], metavar="NAME", help="enable these services too")
    add("--env-file", action="append", default=[], metavar="FILE", help="variables, instead of "
        ".env")  # fmt: skip
    add("--project-directory", default="", metavar="DIR", help="what paths are relative to")
    add("--ansi", choices=("auto", "always", "never"), default="", help="colours")
    add("--parallel", type=int, default=0, metavar="N", help="at most so many things at a time; "
        "-1 is as many as there are (default)")  # fmt: skip
    add("--progress", choices=("auto", "tty", "plain", "json", "quiet"), default="", help="how "
        "steps are told: auto is tty on a terminal, plain elsewhere")  # fmt: skip
    compose_words.add(parser.add_subparsers(dest="verb", required=True, metavar="VERB"))


def run(args: Namespace) -> int:
    """Run one verb."""
    module: ModuleType
    if args.verb in SHOWING:
        from labcontainer.cli import compose_showing as module
    elif args.verb in RUNNING:
        from labcontainer.cli import compose_running as module
    else:
        from labcontainer.cli import compose_doing as module
    verb: Callable[[Namespace], int] = getattr(module, f"run_{args.verb}")
    with compose_progress.of(args) as args.tell:
        return verb(args)


SHOWING = set("config events images logs ls port ps stats top version volumes".split())
RUNNING = set("attach build commit cp exec export pull push run watch".split())


def numbers(words: list[str], flag: str = "--scale") -> dict[str, int]:
    """The words `SERVICE=N` of `up --scale` and `scale`.

    Raises:
        UsageError: a word is none.
    """
    found = {}
    for word in words:
        name, equals, number = word.partition("=")
        if not equals or not number.isdecimal():
            raise errors.UsageError(f"invalid value {word!r} for {flag}: it is SERVICE=N")
        found[name] = int(number)
    return found
