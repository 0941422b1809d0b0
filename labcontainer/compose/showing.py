"""A project as `config` prints it: all files as one, in the long form, ready to be read again."""

from __future__ import annotations

import json
from typing import Any

from labcontainer.compose.model import Project
from labcontainer.compose.scalars import Tree


def tree(project: Project) -> Tree:
    """The whole project as one Compose file; a dollar sign is written `$$`."""
    found: Tree = {"name": project.name, "services": {}}
    for name, service in sorted(project.services.items()):
        found["services"][name] = _sorted(service.words)
    for kind in ("networks", "volumes", "secrets", "configs"):
        shared = getattr(project, kind)
        if shared:
            found[kind] = {
                key: _sorted({"name": one.name, **one.words}) for key, one in sorted(shared.items())
            }
    found |= {key: _sorted(value) for key, value in sorted(project.extensions.items())}
    escaped: Tree = _escaped(found)
    return escaped


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(one) for one in value] if isinstance(value, list) else value


def _escaped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _escaped(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_escaped(one) for one in value]
    return value.replace("$", "$$") if isinstance(value, str) else value


def to_json(project: Project) -> str:
    """The project as JSON."""
    return json_of(tree(project))


def to_yaml(project: Project) -> str:
    """The project as YAML."""
    return yaml_of(tree(project))


def json_of(found: Tree) -> str:
    """A whole file as JSON."""
    return json.dumps(found, indent=2, ensure_ascii=False)


def yaml_of(found: Tree) -> str:
    """A whole file as YAML that says the same to a reader of 1.1 and of 1.2."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Without the aliases that PyYAML makes of equal parts."""

        def ignore_aliases(self, _data: Any) -> bool:
            """Always."""
            return True

    Dumper.add_representer(str, _text)
    return str(yaml.dump(found, Dumper=Dumper, sort_keys=False, allow_unicode=True))


def _text(dumper: Any, text: str) -> Any:
    """Several lines as a block; what another reader could take for a number or truth in quotes."""
    from labcontainer.compose.document import plain

    style = "|" if "\n" in text.rstrip("\n") else None
    if style is None and not isinstance(plain(text), str):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)
