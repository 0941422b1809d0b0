"""The verbs of `labcontainer compose` and their words, which are Docker Compose's."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

    Verbs = _SubParsersAction[ArgumentParser]

PULL = ("always", "missing", "never", "policy")


def add(verbs: Verbs) -> None:
    """Add all verbs."""
    for words in (_making, _life, _running, _imaging, _looking):
        words(verbs)


def _verb(verbs: Verbs, name: str, help: str, *, services: bool = True) -> ArgumentParser:
    parser: ArgumentParser = verbs.add_parser(name, allow_abbrev=False, help=help, description=help)
    if services:
        parser.add_argument("services", nargs="*", metavar="SERVICE", help="only these")
    return parser


def _switches(parser: ArgumentParser, *words: tuple[str, str]) -> None:
    for names, help in words:
        parser.add_argument(*names.split(), action="store_true", help=help)


def _only_services(parser: ArgumentParser) -> None:
    parser.add_argument("--services", dest="only_services", action="store_true",
                        help="only the names of services")  # fmt: skip


def _timeout(parser: ArgumentParser) -> None:
    parser.add_argument("-t", "--timeout", type=int, metavar="SECONDS",
                        help="before a stop becomes a kill")  # fmt: skip


def _index(parser: ArgumentParser) -> None:
    parser.add_argument("--index", type=int, default=0, metavar="N", help="which of several "
                        "containers")  # fmt: skip


# --- up, down and what is between -----------------------------------------------------------------


def _making(verbs: Verbs) -> None:
    up = _verb(verbs, "up", "make and start all that the files say, and show its output")
    _creating(up)
    _switches(
        up,
        ("-d --detach", "in the background"),
        ("--abort-on-container-exit", "stop all when one ends"),
        ("--abort-on-container-failure", "stop all when one fails"),
        ("--attach-dependencies", "show the output of dependencies too"),
        ("--no-color", "without colours"),
        ("--no-log-prefix", "without the containers' names"),
        ("--no-start", "make everything, start nothing"),
        ("--timestamps", "when each line was written"),
        ("--wait", "in the background; until all run, or are healthy"),
        ("-w --watch", "then do what `develop.watch` says"),
    )
    for name in ("--attach", "--no-attach"):
        up.add_argument(name, action="append", default=[], metavar="SERVICE", help="whose output")
    up.add_argument("--exit-code-from", default="", metavar="SERVICE", help="end with its status")
    up.add_argument("--wait-timeout", type=float, metavar="SECONDS", help="at most")
    create = _verb(verbs, "create", "make containers, start nothing")
    _creating(create)
    scale = _verb(verbs, "scale", "have so many containers of services", services=False)
    scale.add_argument("numbers", nargs="+", metavar="SERVICE=N", help="how many")
    _switches(scale, ("--no-deps", "without what the services depend on"))
    down = _verb(verbs, "down", "stop and remove what up has made")
    _switches(
        down,
        ("--remove-orphans", "containers of services that the files do not have, too"),
        ("-v --volumes", "named volumes of the files and anonymous ones too"),
    )
    down.add_argument("--rmi", choices=("local", "all"), default="", help="images too")
    _timeout(down)


def _creating(parser: ArgumentParser) -> None:
    """What `up` and `create` share."""
    _switches(
        parser,
        ("--always-recreate-deps", "make dependencies anew too"),
        ("--build", "build images first"),
        ("--dry-run", "print what would be done to containers"),
        ("--force-recreate", "make all anew"),
        ("--no-build", "do not build, even what is missing"),
        ("--no-deps", "without what the services depend on"),
        ("--no-recreate", "leave what there is"),
        ("--quiet-build", "say nothing of builds"),
        ("--quiet-pull", "say nothing of pulls"),
        ("--remove-orphans", "remove containers of services that the files do not have"),
        ("-V --renew-anon-volumes", "new anonymous volumes"),
        ("-y --yes", "ask nothing"),
    )
    parser.add_argument("--pull", choices=PULL, default="policy", help="when to pull images")
    parser.add_argument("--scale", action="append", default=[], metavar="SERVICE=N",
                        help="how many containers")  # fmt: skip
    _timeout(parser)


def _life(verbs: Verbs) -> None:
    start = _verb(verbs, "start", "start containers that were stopped")
    _switches(start, ("--wait", "until all run, or are healthy"))
    start.add_argument("--wait-timeout", type=float, metavar="SECONDS", help="at most")
    _timeout(_verb(verbs, "stop", "stop containers, remove nothing"))
    restart = _verb(verbs, "restart", "stop and start containers")
    _timeout(restart)
    _switches(restart, ("--no-deps", "not those that depend on them"))
    kill = _verb(verbs, "kill", "send a signal to containers")
    kill.add_argument("-s", "--signal", default="SIGKILL", metavar="SIGNAL", help="SIGKILL by "
                      "default")  # fmt: skip
    _switches(kill, ("--remove-orphans", "those of other services too"))
    rm = _verb(verbs, "rm", "remove containers that are stopped")
    _switches(
        rm,
        ("-f --force", "do not ask"),
        ("-s --stop", "stop them first"),
        ("-v --volumes", "their anonymous volumes too"),
    )
    wait = _verb(verbs, "wait", "wait until containers end; the status is the last one's",
                 services=False)  # fmt: skip
    wait.add_argument("services", nargs="+", metavar="SERVICE", help="whose containers")
    _switches(wait, ("--down-project", "then do what `down` does"))
    _verb(verbs, "pause", "freeze all processes of containers")
    _verb(verbs, "unpause", "let frozen containers go on")


# --- programs and images --------------------------------------------------------------------------


def _running(verbs: Verbs) -> None:
    import argparse

    one = _verb(verbs, "exec", "run one more program in a service's container", services=False)
    _switches(
        one,
        ("-d --detach", "do not wait for it"),
        ("-T --no-tty", "without a terminal of its own"),
        ("--privileged", "with all capabilities"),
    )
    _index(one)
    run = _verb(verbs, "run", "run one command in a container of its own", services=False)
    _switches(
        run,
        ("--build", "build its image first"),
        ("-d --detach", "in the background; prints the name"),
        ("--no-deps", "without what it depends on"),
        ("--quiet-build", "say nothing of builds"),
        ("--quiet-pull", "say nothing of pulls"),
        ("-T --no-tty", "without a terminal of its own"),
        ("--remove-orphans", "remove containers of services that the files do not have"),
        ("--rm", "remove it when it ends"),
        ("-P --service-ports", "publish the service's ports"),
        ("--use-aliases", "be found by the service's names"),
        ("-q --quiet", "say nothing of what is made"),
    )
    for names, meta, help in (
        ("--cap-add", "NAME", "a capability more"), ("--cap-drop", "NAME", "one less"),
        ("-l --label", "KEY=VALUE", "a label"), ("-p --publish", "PORT", "publish a port"),
        ("-v --volume", "SRC:DST", "one more volume"),
    ):  # fmt: skip
        run.add_argument(*names.split(), action="append", default=[], metavar=meta, help=help)
    run.add_argument("--env-from-file", action="append", default=[], metavar="FILE",
                     help="a file of variables")  # fmt: skip
    run.add_argument("--name", default="", metavar="NAME", help="the container's name")
    run.add_argument("--entrypoint", metavar="COMMAND", help="instead of the image's")
    run.add_argument("--pull", choices=PULL, default="policy", help="when to pull images")
    for parser in (one, run):
        add = parser.add_argument
        add("-e", "--env", action="append", default=[], metavar="NAME=VALUE", help="a variable")
        add("-i", "--interactive", action="store_true", default=True, help="connect standard "
            "input (default)")  # fmt: skip
        add("-t", "--tty", action="store_true", default=True, help="a terminal, where there is "
            "one here (default)")  # fmt: skip
        add("-u", "--user", default="", metavar="USER[:GROUP]", help="who runs it")
        add("-w", "--workdir", default="", metavar="DIR", help="where it starts")
        add("service", metavar="SERVICE", help="whose container")
        add("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="the program")
    _copying(verbs)


def _copying(verbs: Verbs) -> None:
    """What works on the files or the terminal of one container."""
    attach = _verb(verbs, "attach", "connect the terminal to a service's container", services=False)
    _switches(attach, ("--no-stdin", "leave its input alone"))
    attach.add_argument("--detach-keys", metavar="KEYS", help="instead of ctrl-p,ctrl-q")
    attach.add_argument("--sig-proxy", nargs="?", const="true", default="true", metavar="BOOL",
                        help="pass signals on (default)")  # fmt: skip
    commit = _verb(verbs, "commit", "make an image of what a container changed", services=False)
    commit.add_argument("-a", "--author", default="", metavar="NAME", help="who made it")
    commit.add_argument("-c", "--change", action="append", default=[], metavar="INSTRUCTION",
                        help="of a Dockerfile, for the image")  # fmt: skip
    commit.add_argument("-m", "--message", default="", metavar="TEXT", help="why")
    commit.add_argument("-p", "--pause", nargs="?", const="true", default="true", metavar="BOOL",
                        help="freeze it meanwhile (default)")  # fmt: skip
    export = _verb(verbs, "export", "write all files of a container into a tar archive",
                   services=False)  # fmt: skip
    export.add_argument("-o", "--output", default="", metavar="FILE", help="instead of output")
    for parser in (attach, commit, export):
        _index(parser)
        parser.add_argument("service", metavar="SERVICE", help="whose container")
    commit.add_argument("image", nargs="?", default="", metavar="NAME[:TAG]", help="its name")
    cp = _verb(verbs, "cp", "copy files from or into a service's container", services=False)
    _switches(
        cp,
        ("-a --archive", "keep owners"),
        ("--all", "those of `run` too"),
        ("-L --follow-link", "what a link leads to"),
    )
    _index(cp)
    cp.add_argument("source", metavar="SRC", help="PATH, SERVICE:PATH, or - for a tar archive")
    cp.add_argument("target", metavar="DEST", help="the same; one of the two is a service's")


def _imaging(verbs: Verbs) -> None:
    build = _verb(verbs, "build", "build the images of services")
    build.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE",
                       help="set an ARG")  # fmt: skip
    build.add_argument("-m", "--memory", default="", metavar="SIZE", help="limit of its containers")
    _switches(
        build,
        ("--no-cache", "build every step anew"),
        ("--pull", "ask for newer base images"),
        ("--push", "push them afterwards"),
        ("-q --quiet", "say nothing"),
        ("--with-dependencies", "what the services depend on too"),
    )
    pull = _verb(verbs, "pull", "pull the images of services")
    _switches(
        pull,
        ("--ignore-buildable", "not those that can be built"),
        ("--ignore-pull-failures", "go on after a failure"),
        ("--include-deps", "what the services depend on too"),
        ("-q --quiet", "say nothing"),
    )
    pull.add_argument("--policy", choices=("missing", "always"), default="always", help="missing: "
                      "only what is not here")  # fmt: skip
    push = _verb(verbs, "push", "push the images of services that are built")
    _switches(
        push,
        ("--ignore-push-failures", "go on after a failure"),
        ("--include-deps", "what the services depend on too"),
        ("-q --quiet", "say nothing"),
    )
    watch = _verb(verbs, "watch", "do what `develop.watch` says when files change")
    _switches(watch, ("--no-up", "do not build and start first"), ("--quiet", "no build output"))


# --- looking --------------------------------------------------------------------------------------


def _looking(verbs: Verbs) -> None:
    ps = _verb(verbs, "ps", "list the project's containers")
    _switches(
        ps,
        ("-a --all", "those that have ended, and those of `run`, too"),
        ("--no-trunc", "whole ids and commands"),
        ("-q --quiet", "only ids"),
    )
    ps.add_argument("--orphans", nargs="?", const="true", default="true", metavar="BOOL",
                    help="those of services that the files do not have, too (default)")  # fmt: skip
    _only_services(ps)
    ps.add_argument("--status", action="append", default=[], metavar="STATE", help="only these")
    ps.add_argument("--filter", action="append", default=[], metavar="status=STATE",
                    help="only these")  # fmt: skip
    images = _verb(verbs, "images", "list the images of containers")
    _verb(verbs, "top", "list the processes of containers")
    port = _verb(verbs, "port", "where a service's port is on the host", services=False)
    port.add_argument("--protocol", choices=("tcp", "udp"), default="tcp", help="tcp by default")
    _index(port)
    port.add_argument("service", metavar="SERVICE", help="whose port")
    port.add_argument("port", metavar="PORT", help="in the container")
    ls = _verb(verbs, "ls", "list the projects at the daemon", services=False)
    _switches(ls, ("-a --all", "those that have ended too"))
    ls.add_argument("--filter", action="append", default=[], metavar="name=NAME", help="only these")
    volumes = _verb(verbs, "volumes", "list the project's volumes")
    for parser in (ls, images, volumes):
        _switches(parser, ("-q --quiet", "only names or ids"))
    stats = _verb(verbs, "stats", "show what containers use, as they run")
    _switches(
        stats,
        ("-a --all", "those that have ended, too"),
        ("--no-stream", "once, and end"),
        ("--no-trunc", "whole ids"),
    )
    for parser in (ls, images, ps, volumes, stats):
        parser.add_argument("--format", default="", metavar="FORM", help="table, json or template")
    _said(verbs)
    _config(verbs)


def _said(verbs: Verbs) -> None:
    logs = _verb(verbs, "logs", "print what containers have said")
    _switches(
        logs,
        ("-f --follow", "go on as they say more"),
        ("--no-color", "without colours"),
        ("--no-log-prefix", "without the containers' names"),
        ("-t --timestamps", "when each line was written"),
    )
    _index(logs)
    logs.add_argument("-n", "--tail", default="all", metavar="LINES", help="only so many from the "
                      "end")  # fmt: skip
    events = _verb(verbs, "events", "print what happens to containers")
    _switches(events, ("--json", "as JSON"))
    for parser in (logs, events):
        for name in ("--since", "--until"):
            parser.add_argument(name, default="", metavar="TIME", help="such as 10m or a date")
    version = _verb(verbs, "version", "the version of this command", services=False)
    version.add_argument("-f", "--format", choices=("pretty", "json"), default="", help="pretty")
    _switches(version, ("--short", "only the number"))


def _config(verbs: Verbs) -> None:
    config = _verb(verbs, "config", "print all files as one, or refuse them")
    _switches(
        config,
        ("--environment", "the variables"),
        ("--images", "only the names of images"),
        ("--networks", "only the keys of networks"),
        ("--no-interpolate", "leave variables as they are written"),
        ("--profiles", "only the names of profiles"),
        ("-q --quiet", "only check"),
        ("--resolve-image-digests", "name images by their digests in the registry"),
        ("--variables", "the variables that the files use"),
        ("--volumes", "only the keys of volumes"),
    )
    _only_services(config)
    config.add_argument("--format", choices=("yaml", "json"), default="yaml", help="yaml or json")
    config.add_argument("--hash", metavar="SERVICES", help="hashes of these services; * is all")
    config.add_argument("-o", "--output", default="", metavar="FILE", help="write there")
