"""The flags of `labcontainer service create` and `update`, and the ServiceSpec that they make."""

from __future__ import annotations

from labcontainer import durations, errors
from labcontainer.engine import words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable
    from typing import Any

    Spec = dict[str, Any]

# Flag, the place in the specification, how its word is read, and its help.
SINGLE: tuple[tuple[str, str, Callable[[str], Any], str], ...] = (
    ("--replicas", "Mode.Replicated.Replicas", int, "how many tasks"),
    ("--reserve-memory", "TaskTemplate.Resources.Reservations.MemoryBytes",
     lambda word: words.size("--reserve-memory", word), "that a node must have free"),
    ("--reserve-cpu", "TaskTemplate.Resources.Reservations.NanoCPUs", words.cpus,
     "that a node must have free"),
    ("--limit-memory", "TaskTemplate.Resources.Limits.MemoryBytes",
     lambda word: words.size("--limit-memory", word), "for each task"),
    ("--limit-cpu", "TaskTemplate.Resources.Limits.NanoCPUs", words.cpus, "for each task"),
    ("--restart-condition", "TaskTemplate.RestartPolicy.Condition", str, "none, on-failure, any"),
    ("--restart-delay", "TaskTemplate.RestartPolicy.Delay", durations.parse, "before a restart"),
    ("--restart-max-attempts", "TaskTemplate.RestartPolicy.MaxAttempts", int, "0 is no limit"),
    ("--replicas-max-per-node", "TaskTemplate.Placement.MaxReplicas", int, "0 is no limit"),
    ("--user", "TaskTemplate.ContainerSpec.User", str, "who runs the program"),
    ("--workdir", "TaskTemplate.ContainerSpec.Dir", str, "where it starts"),
    ("--hostname", "TaskTemplate.ContainerSpec.Hostname", str, "may have {{.Task.Slot}} in it"),
    ("--stop-signal", "TaskTemplate.ContainerSpec.StopSignal", str, "instead of the image's"),
    ("--stop-grace-period", "TaskTemplate.ContainerSpec.StopGracePeriod", durations.parse,
     "before it is killed, default 10s"),
    *((f"--{kind}-{flag}", f"{kind.capitalize()}Config.{field}", read, help)
      for kind in ("update", "rollback")
      for flag, field, read, help in (
          ("parallelism", "Parallelism", int, "tasks at once; 0 is all"),
          ("delay", "Delay", durations.parse, "after each"),
          ("monitor", "Monitor", durations.parse, "how long the last ones are watched"),
          ("order", "Order", str, "stop-first or start-first"),
          ("failure-action", "FailureAction", str, "pause, continue or rollback"),
          ("max-failure-ratio", "MaxFailureRatio", float, "of tasks that may fail"),
      )),
)  # fmt: skip
# What may be said several times: at creation `--env`, later `--env-add` and `--env-rm`.
SEVERAL: tuple[tuple[str, str, str], ...] = (
    ("env", "TaskTemplate.ContainerSpec.Env", "NAME=VALUE"),
    ("constraint", "TaskTemplate.Placement.Constraints", "node.labels.x==y"),
    ("label", "Labels", "KEY=VALUE"),
    ("container-label", "TaskTemplate.ContainerSpec.Labels", "KEY=VALUE"),
    ("publish", "EndpointSpec.Ports", "mode=host,published=N,target=N"),
)
DEFAULT_RULES = {"Parallelism": 1}


def add_create(parser: ArgumentParser) -> None:
    """The flags of `create`."""
    parser.add_argument("--name", default="", help="of the service")
    parser.add_argument("--mode", choices=("replicated", "global"), default="replicated",
                        help="so many tasks, or one on each node")  # fmt: skip
    parser.add_argument("--network", default="", metavar="NAME", help="host, bridge or none")
    for name, _, shape in SEVERAL:
        parser.add_argument(f"--{name}", action="append", default=[], metavar=shape, help="several")
    _add_single(parser)
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("command", nargs="...", metavar="COMMAND")


def add_update(parser: ArgumentParser) -> None:
    """The flags of `update`."""
    parser.add_argument("--image", default="", help="another image")
    parser.add_argument("--args", default=None, help="another command, as one word of the shell's")
    parser.add_argument("--force", action="store_true", help="replace tasks without a change")
    for name, _, shape in SEVERAL:
        parser.add_argument(f"--{name}-add", action="append", default=[], metavar=shape, help="one "
                            "more")  # fmt: skip
        parser.add_argument(f"--{name}-rm", action="append", default=[], metavar="WORD",
                            help="one less, by its name")  # fmt: skip
    _add_single(parser)
    parser.add_argument("service", metavar="SERVICE")


def _add_single(parser: ArgumentParser) -> None:
    for flag, _, _, help in SINGLE:
        parser.add_argument(flag, default=None, metavar="WORD", help=help)
    parser.add_argument("-d", "--detach", action="store_true", help="it never waits: Docker's flag")


def created(args: Namespace) -> Spec:
    """The specification of a new service.

    Raises:
        UsageError: a word is wrong.
    """
    container: Spec = {"Image": args.image}
    if args.command:
        container["Args"] = args.command
    spec: Spec = {"Name": args.name, "Labels": {}, "TaskTemplate": {"ContainerSpec": container},
                  "Mode": {"Global": {}} if args.mode == "global" else
                  {"Replicated": {"Replicas": 1}}}  # fmt: skip
    if args.network:
        spec["TaskTemplate"]["Networks"] = [{"Target": args.network}]
    for name, place, _ in SEVERAL:
        for word in getattr(args, name.replace("-", "_")):
            _add(spec, name, place, word)
    return _single(spec, args)


def changed(spec: Spec, args: Namespace) -> Spec:
    """A specification, as the flags of `update` change it.

    Raises:
        UsageError: a word is wrong.
    """
    task = spec["TaskTemplate"]
    if args.image:
        task["ContainerSpec"]["Image"] = args.image
    if args.args is not None:
        import shlex

        task["ContainerSpec"]["Args"] = shlex.split(args.args)
    if args.force:
        task["ForceUpdate"] = task.get("ForceUpdate", 0) + 1
    for name, place, _ in SEVERAL:
        attribute = name.replace("-", "_")
        for word in getattr(args, f"{attribute}_rm"):
            _remove(spec, place, word)
        for word in getattr(args, f"{attribute}_add"):
            _add(spec, name, place, word)
    return _single(spec, args)


def _single(spec: Spec, args: Namespace) -> Spec:
    for flag, place, read, _ in SINGLE:
        word = getattr(args, flag[2:].replace("-", "_"))
        if word is None:
            continue
        if flag == "--replicas" and "Global" in spec["Mode"]:
            raise errors.UsageError("replicas can only be used with replicated mode")
        try:
            value = read(word)
        except ValueError:
            raise errors.UsageError(f"invalid argument {word!r} for {flag}") from None
        *path, last = place.split(".")
        inner = _inner(spec, path)
        if path[0] in ("UpdateConfig", "RollbackConfig") and not inner:
            inner |= DEFAULT_RULES
        inner[last] = value
    return spec


def _inner(spec: Spec, path: list[str]) -> Spec:
    for name in path:
        if not isinstance(spec.get(name), dict):
            spec[name] = {}
        spec = spec[name]
    return spec


def _add(spec: Spec, name: str, place: str, word: str) -> None:
    *path, last = place.split(".")
    inner = _inner(spec, path)
    if last == "Labels":
        inner[last] = {**(inner.get(last) or {}), **words.pairs([word])}
        return
    _remove(spec, place, word)
    value = port(word) if name == "publish" else word
    inner[last] = [*(inner.get(last) or []), value]


def _remove(spec: Spec, place: str, word: str) -> None:
    """Take out what a word names: a label or variable by its name, a port by its target."""
    *path, last = place.split(".")
    inner = _inner(spec, path)
    found, name = inner.get(last), word.partition("=")[0]
    if isinstance(found, dict):
        found.pop(name, None)
    elif last == "Ports":
        target = str(port(word)["TargetPort"]) if "=" in word else word
        inner[last] = [one for one in found or () if str(one["TargetPort"]) != target]
    elif last == "Env":
        inner[last] = [one for one in found or () if one.partition("=")[0] != name]
    else:
        inner[last] = [one for one in found or () if one != word]


def port(word: str) -> Spec:
    """`mode=host,published=8080,target=80[,protocol=udp]`, or the short `8080:80[/udp]`: ingress.

    Raises:
        UsageError: it is none of them.
    """
    if "=" in word:
        found = words.pairs(word.split(","))
    else:
        outside, colon, inside = word.rpartition(":")
        target, _, protocol = (inside if colon else word).partition("/")
        found = {"published": outside, "target": target, "protocol": protocol, "mode": "ingress"}
    numbers = {name: found.get(name, "") for name in ("target", "published")}
    if not numbers["target"].isdecimal() or not (numbers["published"] or "0").isdecimal():
        raise errors.UsageError(f"invalid value {word!r} for --publish: mode=host,published=N,"
                                "target=N")  # fmt: skip
    made = {"Protocol": found.get("protocol") or "tcp", "TargetPort": int(numbers["target"]),
            "PublishMode": found.get("mode") or "ingress"}  # fmt: skip
    if numbers["published"]:
        made["PublishedPort"] = int(numbers["published"])
    return made
