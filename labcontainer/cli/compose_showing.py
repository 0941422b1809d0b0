"""`compose config events images logs ls port ps stats top version volumes`: what there is."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
from argparse import Namespace
from typing import Any

from labcontainer import errors
from labcontainer.cli import compose_project as shared
from labcontainer.cli import format as form
from labcontainer.cli import looking, volumes
from labcontainer.client import daemon
from labcontainer.client.api import Client
from labcontainer.compose import grants, interpolation, labels, loading, observed, output, showing
from labcontainer.compose import sources as files
from labcontainer.compose.model import Project
from labcontainer.compose.observed import Container
from labcontainer.engine import moments

Row = dict[str, Any]

# --- config ---------------------------------------------------------------------------------------


def run_config(args: Namespace) -> int:
    """Print all files as one, in the long form, or only a part of it."""
    if args.variables:
        return _variables(args)
    text = _written(args) if args.no_interpolate else _config(args)
    if args.quiet:
        return 0
    if args.output:
        with open(args.output, "w", encoding="utf-8") as file:
            file.write(text)
    else:
        print(text, end="")
    return 0


def _written(args: Namespace) -> str:
    """All files as one, with their variables as they are written."""
    found = loading.written(shared.asked(args), os.getcwd(), shared.warn)
    if args.services:
        found["services"] = {name: found["services"][name] for name in args.services}
    return f"{showing.json_of(found)}\n" if args.format == "json" else showing.yaml_of(found)


def _config(args: Namespace) -> str:
    project = shared.load(args, args.services)
    if args.services:
        project = project.only(args.services)
    if args.resolve_image_digests:
        project = _with_digests(project)
    services = project.services
    everything = [*services.values(), *project.disabled.values()]
    if args.hash is not None:
        return _hashes(project, args.hash)
    lists = {
        "only_services": list(services),
        "volumes": list(project.volumes),
        "networks": list(project.networks),
        "images": [one.image for one in services.values()],
        "profiles": sorted({name for one in everything for name in one.profiles}),
        "environment": [f"{key}={value}" for key, value in sorted(project.environment.items())],
    }
    for name, lines in lists.items():
        if getattr(args, name):
            return "".join(f"{line}\n" for line in lines)
    return f"{showing.to_json(project)}\n" if args.format == "json" else showing.to_yaml(project)


def _with_digests(project: Project) -> Project:
    """The project with images by the digests that their registries know."""
    client = daemon.client()
    for service in list(project.services.values()):
        name = service.get("image")
        if name and "@" not in name:
            digest = client.get(f"/distribution/{name}/json")["Descriptor"]["digest"]
            words = {**service.words, "image": f"{name}@{digest}"}
            pinned = dataclasses.replace(service, words=words, image=words["image"])
            project = project.replaced(pinned)
    return project


def _hashes(project: Project, wanted: str) -> str:
    names = list(project.services) if wanted == "*" else wanted.split(",")
    lines = []
    for name in names:
        service = project.service(name)
        lines.append(f"{name} {labels.config_hash(service, grants.digests(project, service))}\n")
    return "".join(lines)


def _variables(args: Namespace) -> int:
    found = files.find(shared.asked(args), os.getcwd())
    heads = ["NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE"]
    rows: dict[str, Row] = {}
    for path in found.files:
        for one in interpolation.variables(loading.read(path).data):
            row = rows.setdefault(one.name, {**dict.fromkeys(heads, ""), "NAME": one.name})
            kind = one.operator.lstrip(":")
            field = {"-": "DEFAULT VALUE", "+": "ALTERNATE VALUE"}.get(kind)
            row |= {field: one.word} if field else {"REQUIRED": "true"} if kind == "?" else {}
            row["REQUIRED"] = row["REQUIRED"] or "false"
    lines = [[str(row[head]) for head in heads] for _, row in sorted(rows.items())]
    print(form.align([heads, *lines]), end="")
    return 0


# --- ps, ls, images -------------------------------------------------------------------------------

PS_HEADERS = {
    "Name": "NAME", "Image": "IMAGE", "Command": "COMMAND", "Service": "SERVICE",
    "RunningFor": "CREATED", "Status": "STATUS", "Ports": "PORTS", "ID": "CONTAINER ID",
    "Project": "PROJECT", "State": "STATE", "Health": "HEALTH", "ExitCode": "EXIT CODE",
}  # fmt: skip
PS_COLUMNS = "\t".join(
    f"{{{{.{name}}}}}"
    for name in ("Name", "Image", "Command", "Service", "RunningFor", "Status", "Ports")
)


def run_ps(args: Namespace) -> int:
    """List the project's containers."""
    client = daemon.client()
    project = shared.found(args, client, args.services)
    there = observed.containers(client, project.name)
    chosen = shared.chosen(project, there, args.services)
    if args.orphans.lower() in ("false", "0") and project.directory:
        strange = observed.orphans(project, there)
        chosen = [one for one in chosen if one not in strange]
    if args.all:
        alone = observed.containers(client, project.name, oneoff=True)
        chosen += [one for members in alone.values() for one in members]
    states = set(args.status) | set((looking.filters(args.filter) or {}).get("status", ()))
    chosen = [one for one in chosen if (one.state in states if states else args.all or one.running)]
    if args.only_services:
        print("".join(f"{name}\n" for name in sorted({one.service for one in chosen})), end="")
        return 0
    rows = [_ps_row(client, one, whole=args.no_trunc) for one in chosen]
    print(form.listing(rows, headers=PS_HEADERS, columns=PS_COLUMNS, form=args.format,
                       quiet=args.quiet), end="")  # fmt: skip
    return 0


def _ps_row(client: Client, one: Container, *, whole: bool) -> Row:
    raw = dict(one.raw)
    row = looking.container_row(raw, whole=whole)
    state = observed.state(client, one.id) or {}
    row |= {
        "ID": row["ID"] if whole else one.id[:12],
        "Name": one.name,
        "Service": one.service,
        "Project": one.labels.get(labels.PROJECT, ""),
        "Health": (state.get("Health") or {}).get("Status", ""),
        "ExitCode": state.get("ExitCode", 0),
        "Publishers": [
            {"URL": port.get("IP", ""), "TargetPort": port["PrivatePort"],
             "PublishedPort": port.get("PublicPort", 0), "Protocol": port["Type"]}
            for port in raw.get("Ports") or ()
        ],
    }  # fmt: skip
    return row


def run_ls(args: Namespace) -> int:
    """List the projects at the daemon, with how many of their containers are in which state."""
    asked = {"label": [labels.PROJECT]}
    wanted = (looking.filters(args.filter) or {}).get("name")
    projects: dict[str, list[Row]] = {}
    for one in daemon.client().get("/containers/json", all=args.all, filters=asked):
        projects.setdefault(one["Labels"][labels.PROJECT], []).append(one)
    rows = []
    for name, members in sorted(projects.items()):
        if wanted and not any(part in name for part in wanted):
            continue
        states = [one["State"] for one in members]
        counts = ", ".join(f"{state}({states.count(state)})" for state in sorted(set(states)))
        places = sorted({one["Labels"].get(labels.CONFIG_FILES, "") for one in members})
        rows.append({"Name": name, "Status": counts, "ConfigFiles": ",".join(places)})
    if args.format == "json":
        print(json.dumps(rows))
        return 0
    headers = {"Name": "NAME", "Status": "STATUS", "ConfigFiles": "CONFIG FILES"}
    columns = "{{.Name}}\t{{.Status}}\t{{.ConfigFiles}}"
    print(form.listing(rows, headers=headers, columns=columns, form=args.format, quiet=args.quiet,
                       identity="Name"), end="")  # fmt: skip
    return 0


def run_images(args: Namespace) -> int:
    """List the images of the project's containers."""
    client = daemon.client()
    project = shared.found(args, client, args.services)
    there = observed.containers(client, project.name)
    rows = []
    for one in shared.chosen(project, there, args.services):
        found = client.get(f"/images/{one.raw['ImageID']}/json")
        repository, _, tag = str(one.raw["Image"]).partition(":")
        rows.append(
            {"ContainerName": one.name, "Repository": repository, "Tag": tag or "latest",
             "ID": form.short(found["Id"]), "Size": form.size(found["Size"])}
        )  # fmt: skip
    if args.format == "json":
        print(json.dumps(rows))
        return 0
    headers = {"ContainerName": "CONTAINER", "Repository": "REPOSITORY", "Tag": "TAG",
               "ID": "IMAGE ID", "Size": "SIZE"}  # fmt: skip
    columns = "{{.ContainerName}}\t{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.Size}}"
    print(form.listing(rows, headers=headers, columns=columns, form=args.format,
                       quiet=args.quiet), end="")  # fmt: skip
    return 0


def run_volumes(args: Namespace) -> int:
    """List the project's volumes; with services, those that their containers use."""
    client = daemon.client()
    project = shared.found(args, client, args.services)
    asked = {"label": [f"{labels.PROJECT}={project.name}"]}
    found = client.get("/volumes", filters=asked)["Volumes"] or []
    if args.services:
        there = observed.containers(client, project.name)
        chosen = shared.chosen(project, there, args.services)
        used = {mount.get("Name") for one in chosen for mount in one.raw.get("Mounts") or ()}
        found = [one for one in found if one["Name"] in used]
    rows = [volumes.volume_row(one) for one in sorted(found, key=lambda one: str(one["Name"]))]
    print(form.listing(rows, headers=volumes.HEADERS, columns=volumes.COLUMNS, form=args.format,
                       quiet=args.quiet, identity="Name"), end="")  # fmt: skip
    return 0


# --- logs, events ---------------------------------------------------------------------------------


def run_logs(args: Namespace) -> int:
    """Print what containers have said, each line with its container's name."""
    client = daemon.client()
    project = shared.found(args, client, args.services)
    there = observed.containers(client, project.name)
    chosen = [one for one in shared.chosen(project, there, args.services)
              if args.index in (0, one.number)]  # fmt: skip
    colour = shared.colours(args, off=args.no_color)
    printer = output.Printer(sys.stdout, colour=colour, prefix=not args.no_log_prefix)
    printer.know(one.short_name for one in chosen)

    def show(one: Container) -> None:
        pieces = output.logs(
            client, one, follow=args.follow, tail=args.tail, since=args.since, until=args.until,
            timestamps=args.timestamps,
        )  # fmt: skip
        output.follow(printer, one.short_name, pieces)

    if not args.follow:
        for one in chosen:
            show(one)
        return 0
    threads = [threading.Thread(target=show, args=(one,), daemon=True) for one in chosen]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        return 130
    return 0


def run_events(args: Namespace) -> int:
    """Print what happens to the project's containers, until Ctrl-C."""
    client = daemon.client()
    project = shared.found(args, client, args.services)
    asked = {"type": ["container"], "label": [f"{labels.PROJECT}={project.name}"]}
    try:
        for event in client.stream(
            "GET", "/events", filters=asked,
            since=moments.stamp(args.since), until=moments.stamp(args.until),
        ):  # fmt: skip
            known = event["Actor"].get("Attributes") or {}
            if args.services and known.get(labels.SERVICE) not in args.services:
                continue
            print(_event(event, known) if args.json else looking.event_line(event), flush=True)
    except KeyboardInterrupt:
        pass
    return 0


def _event(event: Row, known: Row) -> str:
    own = {key: value for key, value in known.items() if not key.startswith("com.docker.compose.")}
    return json.dumps(
        {"time": looking.event_line(event).partition(" ")[0], "type": "container",
         "service": known.get(labels.SERVICE, ""), "id": event["Actor"]["ID"],
         "action": event["Action"], "attributes": own}
    )  # fmt: skip


# --- port, top, stats, version --------------------------------------------------------------------


def run_port(args: Namespace) -> int:
    """Print where a service's port is on the host."""
    client = daemon.client()
    project = shared.found(args, client, [args.service])
    one = shared.one_of(client, project, args.service, args.index)
    bindings = client.get(f"/containers/{one.id}/json")["NetworkSettings"]["Ports"] or {}
    wanted = f"{args.port}/{args.protocol}"
    if not bindings.get(wanted):
        raise errors.NotFoundError(f"no port {wanted} for container {one.name}")
    first = bindings[wanted][0]
    ip = first["HostIp"]
    print(f"[{ip}]:{first['HostPort']}" if ":" in ip else f"{ip}:{first['HostPort']}")
    return 0


def run_top(args: Namespace) -> int:
    """List the processes of each container."""
    client = daemon.client()
    project = shared.found(args, client, args.services)
    there = observed.containers(client, project.name)
    for one in shared.chosen(project, there, args.services):
        if one.running:
            found = client.get(f"/containers/{one.id}/top")
            print(one.name)
            print(form.align([found["Titles"], *(found["Processes"] or [])], 5))
    return 0


def run_stats(args: Namespace) -> int:
    """Show what the project's containers use, until interrupted."""
    from labcontainer.cli import stats

    client = daemon.client()
    project = shared.found(args, client, args.services)
    there = observed.containers(client, project.name)
    chosen = shared.chosen(project, there, args.services)
    return stats.show(client, [one.id for one in chosen if one.running or args.all], args)


def run_version(args: Namespace) -> int:
    """Print the version of this command."""
    from labcontainer.cli import main

    version = main.version()
    if args.short:
        print(version)
    elif args.format == "json":
        print(json.dumps({"version": version}))
    else:
        print(f"labcontainer compose version {version}")
    return 0
