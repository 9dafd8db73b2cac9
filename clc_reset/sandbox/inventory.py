"""The data of the sandbox's account: data centres, groups, servers and their fixed properties."""

import hashlib
import itertools
from dataclasses import dataclass

ALIAS = "ALIAS"
USERNAME = "demo"
PASSWORD = "demo"  # noqa: S105 - the sandbox's own, printed by it
CREATED = "2015-03-26T23:59:28Z"

DATACENTERS = {"wa1": "WA1 - US West (Seattle)", "va1": "VA1 - US East (Sterling)"}

DETAILS = {  # recorded, but for the missing addresses
    "ipAddresses": [],
    "alertPolicies": [],
    "cpu": 2,
    "diskCount": 3,
    "hostName": "",
    "memoryMB": 4096,
    "storageGB": 19,
    "disks": [
        {"id": f"0:{number}", "sizeGB": size, "partitionPaths": []}
        for number, size in enumerate((1, 2, 16))
    ],
    "partitions": [],
    "snapshots": [],
    "customFields": [],
}

# Recorded (24 of 24 answers have these keys, 2 of them undocumented), but with more templates.
DEPLOYMENT_CAPABILITIES = {
    "dataCenterEnabled": True,
    "importVMEnabled": True,
    "supportsPremiumStorage": True,
    "supportsSharedLoadBalancer": True,
    "supportsBareMetalServers": False,
    "deployableNetworks": [],
    "templates": [
        {
            "name": "DEBIAN-7-64-TEMPLATE",
            "osType": "debian7_64Bit",
            "description": "Debian 7 | 64-bit",
            "storageSizeGB": 17,
            "capabilities": ["cpuAutoscale"],
            "reservedDrivePaths": ["bin", "boot", "etc", "home", "root", "tmp", "usr", "var"],
        }
    ],
    "importableOSTypes": [],
}

# Documented as the payload of an account's webhook; the official Python client reads these names.
# The answer to a GET was never recorded.
ACCOUNT = {
    "accountAlias": ALIAS,
    "parentAlias": "",
    "businessName": "Sandbox",
    **dict.fromkeys(("addressLine1", "addressLine2", "city", "stateProvince", "postalCode"), ""),
    **dict.fromkeys(("country", "telephone"), ""),
    "isManaged": False,
    "primaryDataCenter": "WA1",
    "status": "Active",
    "links": [{"rel": "self", "href": f"/v2/accounts/{ALIAS.lower()}"}],
}

# Documented: the administrator's user name and password.
CREDENTIALS = {"userName": "root", "password": PASSWORD}

# Data centre, group, parent, type, names of the servers. Each hardware group has a "Default Group"
# (recorded: 26 of 26).
_GROUPS: tuple[tuple[str, str, str | None, str, tuple[str, ...]], ...] = (
    ("wa1", "WA1 Hardware", None, "default", ()),
    ("wa1", "Default Group", "WA1 Hardware", "default", ()),
    ("wa1", "Web", "WA1 Hardware", "default", ("WB01", "WB02", "WB03")),
    ("wa1", "Database", "WA1 Hardware", "default", ("DB01", "DB02")),
    ("wa1", "Retired", "Database", "archive", ("OLD01",)),
    ("wa1", "Staging", "WA1 Hardware", "default", ()),
    ("wa1", "Archive", "WA1 Hardware", "archive", ()),
    ("wa1", "Templates", "WA1 Hardware", "templates", ()),
    ("va1", "VA1 Hardware", None, "default", ()),
    ("va1", "Default Group", "VA1 Hardware", "default", ()),
    ("va1", "Web", "VA1 Hardware", "default", ("WB01", "WB02")),
    ("va1", "Batch", "VA1 Hardware", "default", ("JOB01",)),
    ("va1", "Nightly", "Batch", "default", ("JOB02",)),
    ("va1", "Reports", "Nightly", "default", ("JOB03",)),
    ("va1", "Archive", "VA1 Hardware", "archive", ()),
    ("va1", "Templates", "VA1 Hardware", "templates", ()),
)
_STOPPED = "VA1ALIASJOB03"


@dataclass(slots=True)
class Machine:
    """A server of the cloud in its current state.

    `resets` counts the resets that the server was queued for, from the moment they are queued.
    `modified` is in UTC to the second, in the API's format.
    """

    id: str
    group: str
    description: str
    status: str = "active"
    power: str = "started"
    in_maintenance: bool = False
    modified: str = CREATED
    resets: int = 0

    @property
    def datacenter(self) -> str:
        """The id of the server's data centre, in lower case: `wa1`."""
        return self.id[:3].lower()


@dataclass(frozen=True, slots=True)
class MachineGroup:
    """A group of servers. `parent` is None for the hardware group of a data centre."""

    id: str
    name: str
    datacenter: str
    parent: str | None
    type: str


def groups() -> list[MachineGroup]:
    """Return the groups, parents before their children."""
    return [
        MachineGroup(_id(place, name), name, place, _id(place, parent) if parent else None, kind)
        for place, name, parent, kind, _servers in _GROUPS
    ]


def machines(size: int | None) -> list[Machine]:
    """Return `size` servers, or by default the eleven of the small inventory.

    Beyond these they are WA1ALIASN00001, VA1ALIASN00001, WA1ALIASN00002, …: invented, and easy to
    count.
    """
    named = [
        _machine(place, group, name, is_archived=kind == "archive")
        for place, group, _parent, kind, names in _GROUPS
        for name in names
    ]
    if size is None:
        return named
    numbered = (
        _machine(place, "Web", f"N{number:05d}")
        for number in itertools.count(1)
        for place in DATACENTERS
    )
    return [*itertools.islice(itertools.chain(named, numbered), size)]


def _machine(datacenter: str, group: str, name: str, *, is_archived: bool = False) -> Machine:
    server, group_id = f"{datacenter.upper()}{ALIAS}{name}", _id(datacenter, group)
    if is_archived:
        # most recorded servers have a description (1,753 of 2,438), this one doesn't
        return Machine(server, group_id, "", status="archived", power="stopped")
    power = "stopped" if server == _STOPPED else "started"
    return Machine(server, group_id, f"{group} {name}", power=power)


def _id(datacenter: str, group: str) -> str:
    return hashlib.md5(f"{datacenter} {group}".encode(), usedforsecurity=False).hexdigest()
