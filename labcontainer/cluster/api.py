"""The routes of the manager: the part of the Docker Engine API that is about a swarm.

It is served by the daemon's own HTTP server; `call.engine` is the manager here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NoReturn, cast

from labcontainer import errors
from labcontainer.cluster import documents, logs, orders, specification
from labcontainer.cluster.manager import Manager
from labcontainer.cluster.state import NodeRecord, ServiceRecord, State, TaskRecord
from labcontainer.daemon import api, system
from labcontainer.daemon.call import Call
from labcontainer.daemon.routing import Route
from labcontainer.engine import filters, moments
from labcontainer.engine.networkspec import ForbiddenError

Document = dict[str, Any]
Filters = dict[str, list[str]]


def manager_of(call: Call) -> Manager:
    """Whom a call is for."""
    return cast(Manager, call.engine)


def state_of(call: Call) -> State:
    """What is remembered; held by `manager_of(call).lock`."""
    return manager_of(call).state


# --- the whole ------------------------------------------------------------------------------------


def ping(call: Call) -> None:
    """GET and HEAD /_ping."""
    call.plain("OK", {"Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache",
                      "Builder-Version": "1", "Swarm": "active/manager"})  # fmt: skip


def version(call: Call) -> None:
    """GET /version."""
    call.reply(documents.version(api.NEWEST_WORD, api.OLDEST_WORD))


def info(call: Call) -> None:
    """GET /info."""
    with manager_of(call).lock:
        found = documents.info(manager_of(call))
    call.reply(found)


def swarm(call: Call) -> None:
    """GET /swarm."""
    with manager_of(call).lock:
        found = documents.cluster(state_of(call))
    call.reply(found)


# --- nodes ----------------------------------------------------------------------------------------


def nodes(call: Call) -> None:
    """GET /nodes."""
    wanted = call.filters()
    filters.check(wanted, ("id", "label", "membership", "name", "node.label", "role"))
    with manager_of(call).lock:
        found = [documents.node(manager_of(call), one) for one in state_of(call).nodes.values()
                 if _is_node(one, wanted)]  # fmt: skip
    call.reply(found)


def _is_node(one: NodeRecord, wanted: Filters) -> bool:
    return (
        _begins(one.id, wanted, "id")
        and _begins(one.name, wanted, "name")
        and filters.labels(one.labels, wanted.get("node.label", []))
        and filters.labels({}, wanted.get("label", []))  # of the engine: ours have none
        and wanted.get("role", ["worker"]) == ["worker"]
        and wanted.get("membership", ["accepted"]) == ["accepted"]
    )


def _begins(text: str, wanted: Filters, key: str) -> bool:
    return key not in wanted or any(text.startswith(word) for word in wanted[key])


def node(call: Call) -> None:
    """GET /nodes/{id}."""
    with manager_of(call).lock:
        found = documents.node(manager_of(call), state_of(call).node(call.words["id"]))
    call.reply(found)


def update_node(call: Call) -> None:
    """POST /nodes/{id}/update."""
    index = _index(call, "node")
    orders.update_node(manager_of(call), call.words["id"], index, call.body(dict))
    call.empty(200)


def remove_node(call: Call) -> None:
    """DELETE /nodes/{id}."""
    with manager_of(call).lock:
        name = state_of(call).node(call.words["id"]).name
    raise errors.UnsupportedError(
        f"node {name}", "nodes are those on the manager's command line",
        f"start it again without --node {name}=…",
    )  # fmt: skip


def _index(call: Call, kind: str) -> int:
    word = call.text("version")
    if not word.isdecimal():
        raise errors.UsageError(f"invalid {kind} version '{word}': invalid syntax")
    return int(word)


# --- services -------------------------------------------------------------------------------------


def services(call: Call) -> None:
    """GET /services."""
    wanted = call.filters()
    filters.check(wanted, ("id", "label", "mode", "name", "runtime"))
    found = []
    with manager_of(call).lock:
        for one in state_of(call).services.values():
            if _is_service(one, wanted):
                found.append(documents.service(one))
                if call.flag("status"):
                    found[-1]["ServiceStatus"] = documents.service_status(state_of(call), one)
    call.reply(found)


def _is_service(one: ServiceRecord, wanted: Filters) -> bool:
    mode = "global" if specification.replicas(one.spec) is None else "replicated"
    return (
        _begins(one.id, wanted, "id")
        and _begins(one.name, wanted, "name")
        and filters.labels(one.spec.get("Labels") or {}, wanted.get("label", []))
        and mode in wanted.get("mode", [mode])
        and "container" in wanted.get("runtime", ["container"])
    )


def service(call: Call) -> None:
    """GET /services/{id}."""
    with manager_of(call).lock:
        one = state_of(call).service(call.words["id"])
        found = documents.service(one, defaults=call.flag("insertDefaults"))
    call.reply(found)


def create_service(call: Call) -> None:
    """POST /services/create."""
    auth = call.headers.get("X-Registry-Auth") or ""
    record = orders.create_service(manager_of(call), call.body(dict), auth)
    call.reply({"ID": record.id}, 201)


def update_service(call: Call) -> None:
    """POST /services/{id}/update."""
    index, word = _index(call, "service"), call.words["id"]
    if (rollback := call.text("rollback")) not in ("", "none", "previous"):
        raise errors.UsageError(f"unrecognized rollback option {rollback}")
    if rollback == "previous":
        orders.roll_back_service(manager_of(call), word, index)
    else:
        auth = call.headers.get("X-Registry-Auth") or ""
        orders.update_service(manager_of(call), word, index, call.body(dict), auth)
    call.reply({"Warnings": None})


def remove_service(call: Call) -> None:
    """DELETE /services/{id}."""
    orders.remove_service(manager_of(call), call.words["id"])
    call.empty(200)


def service_logs(call: Call) -> None:
    """GET /services/{id}/logs."""
    with manager_of(call).lock:
        record = state_of(call).service(call.words["id"])
    tty = bool(specification.dig(record.spec, "TaskTemplate.ContainerSpec.TTY"))
    logs.tell(call, manager_of(call), lambda one: one.service == record.id, tty=tty)


# --- tasks ----------------------------------------------------------------------------------------


def tasks(call: Call) -> None:
    """GET /tasks."""
    wanted = call.filters()
    filters.check(wanted, ("_up-to-date", "desired-state", "id", "label", "name", "node",
                           "runtime", "service"))  # fmt: skip
    with manager_of(call).lock:
        keep = _task_filter(state_of(call), wanted)
        found = [documents.task(one) for one in state_of(call).tasks.values() if keep(one)]
    call.reply(found)


def _task_filter(state: State, wanted: Filters) -> Callable[[TaskRecord], bool]:
    services = _ids(state.service, wanted.get("service", ()))
    nodes = _ids(state.node, wanted.get("node", ()))

    def keep(one: TaskRecord) -> bool:
        service = state.services.get(one.service)
        desired = documents.task(one)["DesiredState"]
        current = service is not None and service.version == one.task.version
        labels = (service.spec.get("Labels") or {}) if service else {}
        return (
            _begins(one.id, wanted, "id")
            and _begins(f"{one.title}.{one.task.slot}.{one.id}", wanted, "name")
            and ("service" not in wanted or one.service in services)
            and ("node" not in wanted or one.node in nodes)
            and desired in wanted.get("desired-state", [desired])
            and filters.labels(labels, wanted.get("label", []))
            and (not filters.is_true(wanted, "_up-to-date") or current)
        )

    return keep


def _ids(find: Callable[[str], NodeRecord | ServiceRecord], words: Iterable[str]) -> set[str]:
    """The ids that words mean; a word that means nothing is left out, as Docker has it."""
    found = set()
    for word in words:
        try:
            found.add(find(word).id)
        except errors.NotFoundError:
            pass
    return found


def task(call: Call) -> None:
    """GET /tasks/{id}."""
    with manager_of(call).lock:
        found = documents.task(state_of(call).a_task(call.words["id"]))
    call.reply(found)


def task_logs(call: Call) -> None:
    """GET /tasks/{id}/logs."""
    with manager_of(call).lock:
        record = state_of(call).a_task(call.words["id"])
    tty = bool(specification.dig(record.spec, "ContainerSpec.TTY"))
    logs.tell(call, manager_of(call), lambda one: one.id == record.id, tty=tty)


# --- networks, and what there is not --------------------------------------------------------------


def networks(call: Call) -> None:
    """GET /networks: those that every node has of its own."""
    wanted = call.filters()
    filters.check(wanted, ("driver", "id", "label", "name", "scope", "type"))
    names = wanted.get("name", specification.PREDEFINED)
    labelled = filters.labels({}, wanted.get("label", []))  # no label is on any of them
    call.reply([_network(name) for name in specification.PREDEFINED if name in names and labelled])


def _network(name: str) -> Document:
    driver = {"none": "null"}.get(name, name)
    return {"Name": name, "Id": name, "Created": moments.NEVER, "Scope": "local",
            "Driver": driver, "EnableIPv6": False, "IPAM": {"Driver": "default", "Config": []},
            "Internal": False, "Attachable": False, "Ingress": False, "ConfigOnly": False,
            "Containers": {}, "Options": {}, "Labels": {}}  # fmt: skip


def network(call: Call) -> None:
    """GET /networks/{id}."""
    if call.words["id"] not in specification.PREDEFINED:
        raise errors.NotFoundError(f"network {call.words['id']} not found")
    call.reply(_network(call.words["id"]))


def remove_network(call: Call) -> NoReturn:
    """DELETE /networks/{id}."""
    name = call.words["id"]
    if name not in specification.PREDEFINED:
        raise errors.NotFoundError(f"network {name} not found")
    raise ForbiddenError(f"{name} is a pre-defined network and cannot be removed")


def no_network(_call: Call) -> NoReturn:
    """POST /networks/create."""
    raise errors.UnsupportedError(*specification.NO_NETWORK)


def nothing(call: Call) -> None:
    """GET /secrets, /configs: there are none."""
    call.reply([])


def no_secrets(_call: Call) -> NoReturn:
    """POST /secrets/create, /configs/create."""
    raise errors.UnsupportedError("secrets and configs", "the manager keeps none",
                                  "bring files to the nodes and mount them")  # fmt: skip


def no_such(call: Call) -> NoReturn:
    """A secret or config by its name."""
    kind = call.path.split("/")[-2].removesuffix("s")
    raise errors.NotFoundError(f"{kind} {call.words['id']} not found")


def already(_call: Call) -> NoReturn:
    """POST /swarm/init, /swarm/join."""
    raise errors.UnsupportedError("swarm", "this is a cluster already; its nodes are those on the "
                                  "manager's command line")  # fmt: skip


def no_leaving(_call: Call) -> NoReturn:
    """POST /swarm/leave, /swarm/update, /swarm/unlock."""
    raise errors.UnsupportedError("swarm", "this manager is a process and no member of a swarm",
                                  "end the process; services go on")  # fmt: skip


def no_containers(_call: Call) -> NoReturn:
    """What a daemon has and a manager has not."""
    raise errors.UnsupportedError("the manager", "containers, images and volumes are on the nodes",
                                  "ask a node's own daemon")  # fmt: skip


_OF_NODES = ("containers", "images", "volumes", "exec", "build", "commit", "auth", "distribution")

ROUTES = (
    Route("GET", "/_ping", ping),
    Route("HEAD", "/_ping", ping),
    Route("GET", "/version", version),
    Route("GET", "/info", info),
    Route("GET", "/events", system.events),
    Route("GET", "/swarm", swarm),
    Route("GET", "/nodes", nodes),
    Route("GET", "/nodes/{id}", node),
    Route("POST", "/nodes/{id}/update", update_node),
    Route("DELETE", "/nodes/{id}", remove_node),
    Route("GET", "/services", services),
    Route("POST", "/services/create", create_service),
    Route("GET", "/services/{id}", service),
    Route("POST", "/services/{id}/update", update_service),
    Route("DELETE", "/services/{id}", remove_service),
    Route("GET", "/services/{id}/logs", service_logs),
    Route("GET", "/tasks", tasks),
    Route("GET", "/tasks/{id}", task),
    Route("GET", "/tasks/{id}/logs", task_logs),
    Route("GET", "/networks", networks),
    Route("GET", "/networks/{id}", network),
    Route("DELETE", "/networks/{id}", remove_network),
    Route("POST", "/networks/create", no_network),
    *(Route("GET", f"/{kind}", nothing) for kind in ("secrets", "configs")),
    *(Route("POST", f"/{kind}/create", no_secrets) for kind in ("secrets", "configs")),
    *(Route(method, f"/{kind}/{{id}}", no_such) for kind in ("secrets", "configs")
      for method in ("GET", "DELETE")),
    *(Route("POST", f"/swarm/{verb}", already) for verb in ("init", "join")),
    *(Route("POST", f"/swarm/{verb}", no_leaving) for verb in ("leave", "update", "unlock")),
    Route("GET", "/swarm/unlockkey", no_leaving),
    *(Route(method, path, no_containers) for noun in _OF_NODES
      for path in (f"/{noun}", f"/{noun}/{{rest*}}")
      for method in ("GET", "HEAD", "POST", "PUT", "DELETE")),
)  # fmt: skip
