"""`labcontainer completion bash|zsh|fish`: a script that lets a shell complete our commands.

    source <(labcontainer completion bash)

The script asks `labcontainer completion words -- WORD …` for what may come next, and is never old.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

SCRIPTS = {
    "bash": """\
_labcontainer() {
    local IFS=$'\\n'
    COMPREPLY=($(labcontainer completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _labcontainer labcontainer
""",
    "zsh": """\
#compdef labcontainer
_labcontainer() {
    local -a found
    found=(${(f)"$(labcontainer completion words -- "${words[@]:1:$((CURRENT-1))}" 2>/dev/null)"})
    compadd -a found || _files
}
compdef _labcontainer labcontainer
""",
    "fish": """\
complete -c labcontainer -f -a '(labcontainer completion words -- \
(commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
""",
}
# What the last word of a command names, and where its names are.
CONTAINERS = """
    attach commit cp diff exec export inspect kill logs pause port rename restart rm start stats
    stop top unpause update wait
""".split()
IMAGES = "create history images push rmi run save tag".split()


def configure(parser: ArgumentParser) -> None:
    """Add the words of `labcontainer completion`."""
    parser.add_argument("shell", choices=[*SCRIPTS, "words"], help="words: what may come next")
    parser.add_argument("words", nargs="*", metavar="WORD", help="what is typed already")


def run(args: Namespace) -> int:
    """Print the script, or the words."""
    if args.shell in SCRIPTS:
        print(SCRIPTS[args.shell], end="")
        return 0
    print("".join(f"{word}\n" for word in candidates(args.words)), end="")
    return 0


def candidates(words: list[str]) -> list[str]:
    """What the last of the words may become."""
    from labcontainer.cli import groups, main

    *before, begun = words or [""]
    if before and before[0] in main.GROUPS:
        before = groups.shortened(before)
    command = next((word for word in before if not word.startswith("-")), "")
    if not command:
        found = [*main.COMMANDS, "--debug", "--help", "--version"]
    elif command not in main.COMMANDS:
        return []
    elif begun.startswith("-"):
        found = options(command, before)
    else:
        found = verbs(command, before) or names(command, before)
    return sorted(word for word in found if word.startswith(begun))


def _parser(command: str, before: list[str]) -> ArgumentParser:
    """The parser of a command, or of its verb where one is typed."""
    from labcontainer.cli import main

    parser = main.parser_of(command)
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for word in before:
                if word in action.choices:
                    found: ArgumentParser = action.choices[word]
                    return found
    return parser


def options(command: str, before: list[str]) -> list[str]:
    """The long flags."""
    return [flag for action in _parser(command, before)._actions
            for flag in action.option_strings if flag.startswith("--")]  # fmt: skip


def verbs(command: str, before: list[str]) -> list[str]:
    """`ls`, `rm`, … of a command that has them, while none is typed."""
    from labcontainer.cli import main

    for action in main.parser_of(command)._actions:
        if isinstance(action.choices, dict) and not set(before) & set(action.choices):
            return list(action.choices)
    return []


def names(command: str, before: list[str]) -> list[str]:
    """Names of what a command is about: services, images, or what a daemon that answers has."""
    from labcontainer.image.store import Store

    if command == "compose":
        return services(before)
    if command in IMAGES:
        return [tag for image in Store().images() for tag in image.tags]
    if command == "network":
        return [str(one["Name"]) for one in _asked("/networks") or ()]
    if command == "volume":
        return [str(one["Name"]) for one in (_asked("/volumes") or {}).get("Volumes") or ()]
    if command == "node":
        return [str(one["Description"]["Hostname"]) for one in _asked("/nodes") or ()]
    if command == "service":
        return [str(one["Spec"]["Name"]) for one in _asked("/services") or ()]
    found = _asked("/containers/json") if command in CONTAINERS else None
    return [str(one["Names"][0]).lstrip("/") for one in found or ()]


def _asked(path: str) -> Any:
    """What the daemon has; None where none answers."""
    from labcontainer import errors
    from labcontainer.client import address, api, daemon

    where = address.chosen()
    if where.path and not daemon.is_there(where.path):
        return None
    try:
        return api.Client(where).get(path, **({"all": True} if "containers" in path else {}))
    except errors.LabError:
        return None


def services(before: list[str]) -> list[str]:
    """The services of the Compose files that are named, or that are here."""
    import itertools

    from labcontainer import errors
    from labcontainer.compose import loading, sources

    known = verbs("compose", [])
    ours = itertools.takewhile(lambda word: word not in known, before)  # logs -f is another flag
    pairs = itertools.pairwise(ours)
    files = tuple(path for word, path in pairs if word in ("-f", "--file"))
    try:
        project = loading.load(sources.Asked(files, caller=dict(os.environ)), os.getcwd())
    except (errors.LabError, OSError):
        return []
    return [*project.services, *project.disabled]
