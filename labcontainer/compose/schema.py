"""What a Compose file may say, checked before anything is done: schema.yaml, and clear errors.

An error names file, line and key, says what would be right, and for a misspelt key which one was
probably meant.
"""

from __future__ import annotations

import difflib
import os
from functools import cache
from typing import TYPE_CHECKING, Any

from labcontainer.compose.document import Document, Path

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

    from labcontainer.errors import SpecError

Failure = Any  # jsonschema's ValidationError, whose fields have no narrower types

_KINDS = {
    "array": "a list", "object": "a mapping", "string": "a string", "integer": "a whole number",
    "number": "a number", "boolean": "true or false", "null": "empty",
}  # fmt: skip


@cache
def validator() -> Draft202012Validator:
    """The validator of the schema that lies beside this module."""
    import yaml

    path = os.path.join(os.path.dirname(__file__), "schema.yaml")
    with open(path, encoding="utf-8") as file:
        return _imported()(yaml.load(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def _imported() -> type[Draft202012Validator]:
    """jsonschema's class, without what only its checks of formats need, of which we have none.

    Where Jupyter is installed, importing rfc3987_syntax takes longer than all of `compose ps`.
    """
    import sys

    unused = [name for name in ("isoduration", "rfc3987_syntax") if name not in sys.modules]
    modules: dict[str, Any] = dict.fromkeys(unused)
    sys.modules.update(modules)  # None: importing it fails, which jsonschema expects
    try:
        from jsonschema import Draft202012Validator
    finally:
        for name in unused:
            del sys.modules[name]
    return Draft202012Validator


def check(document: Document) -> None:
    """Refuse a document that is not as the schema says.

    Raises:
        SpecError: what is wrong first, by line.
    """
    found = [_error(document, error) for error in validator().iter_errors(document.data)]
    if found:
        line = min(found, key=lambda one: int(one.where.rpartition(":")[2]))
        raise line


def _error(document: Document, error: Failure) -> SpecError:
    """One failure in words, at the key that it is about."""
    error = _deepest(error)
    path: Path = tuple(error.absolute_path)
    if error.validator == "additionalProperties":
        unknown = _unknown(error)
        place = (*path, unknown)
        near = difflib.get_close_matches(unknown, list(error.schema.get("properties", ())), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return document.refuse(place, f"additional properties {unknown!r} not allowed{hint}")
    return document.refuse(path, _words(error))


def _deepest(error: Failure) -> Failure:
    """Of several forms that were allowed, the failure of the one that was meant.

    That is the form whose type fits the value; with none, the choice itself is the error.
    """
    while error.validator in ("anyOf", "oneOf") and error.context:
        own = [one for one in error.context if not _wrong_type(one, error)]
        if not own:
            return error
        error = own[0]
    return error


def _wrong_type(one: Failure, choice: Failure) -> bool:
    """Whether the whole value is of another type than this form wants."""
    here = len(one.absolute_path) == len(choice.absolute_path)
    if one.validator in ("anyOf", "oneOf") and here:
        return all(_wrong_type(deeper, choice) for deeper in one.context or ())
    return here and one.validator in ("type", "const")


def _unknown(error: Failure) -> str:
    """The first key that the schema does not have."""
    known = error.schema.get("properties", {})
    prefixes = tuple(key.lstrip("^") for key in error.schema.get("patternProperties", {}))
    unknown = (key for key in error.instance if key not in known)
    return next(str(key) for key in unknown if not prefixes or not key.startswith(prefixes))


def _words(error: Failure) -> str:
    if error.validator in ("anyOf", "oneOf"):
        return f"must be {_either(sorted(_types(error)))}"
    if error.validator == "type":
        return f"must be {_either(_listed(error.validator_value))}"
    if error.validator == "enum":
        return f"must be one of {', '.join(map(str, error.validator_value))}"
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return f"missing property {missing[0]!r}"
    if error.validator == "uniqueItems":
        return "has an item twice"
    if error.validator == "pattern":
        return f"{error.instance!r} does not match {error.validator_value}"
    return str(error.message)


def _types(error: Failure) -> set[str]:
    found: set[str] = set()
    for one in error.context or ():
        found |= _types(one) if one.validator in ("anyOf", "oneOf") else set()
        found |= set(_listed(one.validator_value)) if one.validator == "type" else set()
    return found


def _listed(kinds: Any) -> list[str]:
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _either(kinds: list[str]) -> str:
    words = [_KINDS[kind] for kind in kinds]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
