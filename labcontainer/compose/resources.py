"""The networks and volumes of a project: made when a service needs them, removed by `down`.

A network that has changed is made anew, since it holds nothing; its containers are taken off it
first. A volume that has changed is left as it is, with a warning: it holds data.
"""

from __future__ import annotations

from collections.abc import Callable

from labcontainer import errors
from labcontainer.client.api import ApiError, Client
from labcontainer.compose import labels
from labcontainer.compose.model import Project, Shared
from labcontainer.compose.scalars import Tree

Tell = Callable[[str, str], None]


def used_networks(project: Project) -> list[Shared]:
    """The networks of the enabled services."""
    keys = {key for one in project.services.values() for key in one.get("networks") or ()}
    return [project.networks[key] for key in sorted(keys)]


def used_volumes(project: Project) -> list[Shared]:
    """The named volumes of the enabled services."""
    keys = {
        mount["source"]
        for one in project.services.values()
        for mount in one.get("volumes") or ()
        if mount["type"] == "volume" and mount.get("source")
    }
    return [project.volumes[key] for key in sorted(keys)]


# --- networks -------------------------------------------------------------------------------------


def ensure_networks(client: Client, project: Project, tell: Tell) -> set[str]:
    """Make the networks that services need; the keys of those that were made anew.

    Raises:
        LabError: an external one is not there, or one could not be made.
    """
    return {
        one.key for one in used_networks(project) if _ensure_network(client, project, one, tell)
    }


def _ensure_network(client: Client, project: Project, one: Shared, tell: Tell) -> bool:
    found = _network(client, one.name)
    if one.external:
        if found is None and one.name not in ("host", "none", "bridge"):
            raise errors.NotFoundError(
                f"network {one.name} declared as external, but could not be found"
            )
        return False
    if found is None:
        _create_network(client, project, one, tell)
        return False
    known = found.get("Labels") or {}
    if known.get(labels.PROJECT) != project.name:
        why = "exists but was not created for this project; set `external: true` to use it"
        tell(f"Network {one.name}", f"Warning: {why}")
        return False
    hashed = labels.shared(project, one, labels.NETWORK)[labels.HASH]
    if known.get(labels.HASH, hashed) == hashed:
        return False
    _remove_network(client, found)
    _create_network(client, project, one, tell)
    return True


def _network(client: Client, name: str) -> Tree | None:
    # The filter also finds names that this one is a part of.
    found = client.get("/networks", filters={"name": [name]})
    return next((one for one in found if one["Name"] == name), None)


def _create_network(client: Client, project: Project, one: Shared, tell: Tell) -> None:
    tell(f"Network {one.name}", "Creating")
    client.post("/networks/create", network_body(project, one))
    tell(f"Network {one.name}", "Created")


def network_body(project: Project, one: Shared) -> Tree:
    """The body of NetworkCreate."""
    words = one.words
    fields = {"driver": "Driver", "internal": "Internal", "attachable": "Attachable",
              "enable_ipv6": "EnableIPv6", "enable_ipv4": "EnableIPv4"}  # fmt: skip
    found: Tree = {field: words[key] for key, field in fields.items() if key in words}
    found |= {"Name": one.name, "CheckDuplicate": True}
    found["Labels"] = labels.shared(project, one, labels.NETWORK)
    found["Options"] = {key: str(value) for key, value in words.get("driver_opts", {}).items()}
    if "ipam" in words:
        fields = {"subnet": "Subnet", "ip_range": "IPRange", "gateway": "Gateway",
                  "aux_addresses": "AuxiliaryAddresses"}  # fmt: skip
        found["IPAM"] = {
            "Driver": words["ipam"].get("driver", "default"),
            "Options": words["ipam"].get("options"),
            "Config": [
                {field: pool[key] for key, field in fields.items() if key in pool}
                for pool in words["ipam"].get("config", ())
            ],
        }
    return found


def _remove_network(client: Client, found: Tree) -> None:
    """Take all containers off a network, and remove it."""
    whole = client.get(f"/networks/{found['Id']}")
    for identity in whole.get("Containers") or {}:
        client.post(f"/containers/{identity}/stop")
        client.post(f"/networks/{found['Id']}/disconnect", {"Container": identity, "Force": True})
    client.delete(f"/networks/{found['Id']}")


# --- volumes --------------------------------------------------------------------------------------


def ensure_volumes(client: Client, project: Project, tell: Tell) -> None:
    """Make the volumes that services need.

    Raises:
        LabError: an external one is not there, or one could not be made.
    """
    for one in used_volumes(project):
        found = _volume(client, one.name)
        if found is None and one.external:
            raise errors.NotFoundError(f'external volume "{one.name}" not found')
        if found is None:
            tell(f"Volume {one.name}", "Creating")
            client.post("/volumes/create", volume_body(project, one))
            tell(f"Volume {one.name}", "Created")
        elif not one.external:
            _check_volume(project, one, found, tell)


def _volume(client: Client, name: str) -> Tree | None:
    try:
        found: Tree = client.get(f"/volumes/{name}")
    except ApiError as error:
        if error.status != 404:
            raise
        return None
    return found


def volume_body(project: Project, one: Shared) -> Tree:
    """The body of VolumeCreate."""
    options = {key: str(value) for key, value in one.words.get("driver_opts", {}).items()}
    return {
        "Name": one.name,
        "Driver": one.words.get("driver", "local"),
        "DriverOpts": options,
        "Labels": labels.shared(project, one, labels.VOLUME),
    }


def _check_volume(project: Project, one: Shared, found: Tree, tell: Tell) -> None:
    known = found.get("Labels") or {}
    hashed = labels.shared(project, one, labels.VOLUME)[labels.HASH]
    if known.get(labels.PROJECT) != project.name:
        why = "already exists but was not created for this project; set `external: true` to use it"
        tell(f"Volume {one.name}", f"Warning: {why}")
    elif known.get(labels.HASH, hashed) != hashed:
        why = "the file has changed, the volume was left as it is; `down --volumes` removes it"
        tell(f"Volume {one.name}", f"Warning: {why}")


# --- removing -------------------------------------------------------------------------------------


def remove(client: Client, kind: str, name: str, path: str, tell: Tell) -> None:
    """Remove a network, volume or image; what is gone or still in use is only told.

    Raises:
        ApiError: the daemon could not for another reason.
    """
    subject = f"{kind} {name}"
    try:
        client.delete(path)
    except ApiError as error:
        if error.status in (403, 409):
            tell(subject, "Resource is still in use")
        elif error.status != 404:
            raise
        return
    tell(subject, "Removed")
