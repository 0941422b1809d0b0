"""The words of the OCI command line: options by a table, without argparse (8 ms of import)."""

from __future__ import annotations

from labcontainer.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

FLAG, VALUE, LIST = "flag", "value", "list"


class Words:
    """The options and the positional words of one call."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.lists: dict[str, list[str]] = {}
        self.rest: list[str] = []

    def has(self, name: str) -> bool:
        """Whether a flag was given."""
        return self.values.get(name, "false") != "false"

    def get(self, name: str, default: str = "") -> str:
        """The value of an option."""
        return self.values.get(name, default)

    def list_of(self, name: str) -> list[str]:
        """Every value of an option that may be given many times."""
        return self.lists.get(name, [])

    def number(self, name: str, default: int = 0) -> int:
        """The whole number that an option gives.

        Raises:
            UsageError: it is none.
        """
        text = self.values.get(name)
        if text is None:
            return default
        try:
            return int(text)
        except ValueError:
            raise UsageError(f"--{name}: {text!r} is not a whole number") from None


def parse(
    words: list[str], options: Mapping[str, str], short: Mapping[str, str], most: int
) -> tuple[Words, list[str]]:
    """Read options up to the first positional word, or among `most` positional words.

    Args:
        words: what is to be read.
        options: long names, and whether each is a flag, has a value, or is a list.
        short: the letters of some of them.
        most: how many positional words may stand between options; what follows is left alone.

    Returns:
        What was read, and the words that are left.

    Raises:
        UsageError: an unknown option, or a value is missing.
    """
    found, index = Words(), 0
    while index < len(words):
        word = words[index]
        index += 1
        if word == "--":
            break
        if not word.startswith("-") or word == "-":
            if len(found.rest) == most:
                index -= 1
                break
            found.rest.append(word)
            continue
        name, equals, value = word.partition("=")
        name = name[2:] if name.startswith("--") else short.get(name[1:], name[1:])
        if name not in options:
            raise UsageError(f"unknown option {word!r}")
        kind = options[name]
        if kind == FLAG:
            found.values[name] = value if equals else "true"
            continue
        if not equals:
            if index == len(words):
                raise UsageError(f"option --{name} needs a value")
            value, index = words[index], index + 1
        if kind == LIST:
            found.lists.setdefault(name, []).append(value)
        found.values[name] = value
    return found, words[index:]
