"""`labcontainer registry serve|gc`: a registry of one's own."""

from __future__ import annotations

from labcontainer import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

PORT = 5000  # that of registries


def configure(parser: ArgumentParser) -> None:
    """Add the words of `labcontainer registry`."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    serve = verbs.add_parser("serve", allow_abbrev=False, help="serve images to whoever asks")
    add = serve.add_argument
    add("--listen", default="127.0.0.1", metavar="HOST[:PORT]", help="port 5000 is usual, port 0 "
        "any free one")  # fmt: skip
    add("--htpasswd", default="", metavar="FILE", help="let in only who is in it (htpasswd -B)")
    add("--tls-cert", default="", metavar="FILE", help="speak HTTPS with this certificate")
    add("--tls-key", default="", metavar="FILE", help="its key, where that is in another file")
    add("--read-only", action="store_true", help="nobody may push or delete")
    add("--plain-http-anywhere", action="store_true", help="off this machine without TLS, too")
    add("--verbose", "-v", action="store_true", help="a line for each request")
    collect = verbs.add_parser("gc", allow_abbrev=False, help="free what no image needs")
    collect.add_argument("--untagged", action="store_true", help="images without a tag, too")
    for one in (serve, collect):
        one.add_argument("--storage", default="", metavar="DIR", help="where the images are kept")


def run(args: Namespace) -> int:
    """Carry out the verb."""
    from labcontainer.image import roots
    from labcontainer.registry.repositories import Repositories

    repositories = Repositories(args.storage or f"{roots.home()}/registry")
    if args.verb == "gc":
        from labcontainer.cli import format as form

        freed = repositories.collect(untagged=args.untagged)
        print(f"Total reclaimed space: {form.size(freed)}")
        return 0
    return _serve(args, repositories)


def _serve(args: Namespace, repositories: object) -> int:
    import signal

    from labcontainer.client import address
    from labcontainer.image import registries
    from labcontainer.registry.repositories import Repositories
    from labcontainer.registry.server import Options, Server

    assert isinstance(repositories, Repositories)
    path, host, port = address.split(args.listen, PORT)
    if path:
        raise errors.UsageError(f"invalid value {args.listen!r} for --listen: it is HOST:PORT")
    shown = f"[{host}]" if ":" in host else host
    if not (args.tls_cert or args.plain_http_anywhere or registries.is_local(shown)):
        raise errors.UsageError(
            f"plain HTTP on {host} can be read and changed by anybody on the way: "
            "use --tls-cert, or --plain-http-anywhere to do it all the same"
        )
    options = Options(host, port, args.htpasswd, args.tls_cert, args.tls_key,
                      args.read_only, args.verbose)  # fmt: skip
    server = Server(repositories, options)
    print(f"labcontainer registry: listening on {server.url}", flush=True)

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        server.serve_forever(poll_interval=3600)
    except KeyboardInterrupt:
        return 0
    finally:
        server.server_close()
    return 0
