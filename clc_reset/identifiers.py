"""The grammar of ids, aliases and base URLs: what a text can be, without asking anybody."""

import re

DEFAULT_BASE_URL = "https://api.ctl.io"
ACCOUNT_VARIABLES = ("CLC_ACCOUNT", "CLC_ALIAS")
"""The variables that name the account to act in, the first that is set."""
LARGEST_PORT = 65535

# not compiled here: most runs need few of them, and re keeps what it has compiled
_SERVER_ID = r"[A-Za-z0-9_-]+"
_OPERATION_ID = r"[A-Za-z]{2}[A-Za-z0-9]-[A-Za-z0-9_-]+"
_RUN = r"[0-9]{8}-[0-9a-f-]*"
_PATH_SEGMENT = r"[A-Za-z0-9][A-Za-z0-9_-]*"
_ACCOUNT_ALIAS = r"[A-Za-z0-9]+"
_BASE_URL = (
    # no user, path, query or fragment; other clients' `/v2` is understood and left out
    r"(?P<scheme>https?)://(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?:/v2)?/?"
)
_LOOPBACK = r"localhost|127(?:\.[0-9]{1,3}){3}|\[::1\]"
_DEFAULT_PORTS = {"https": 443, "http": 80}


def is_server_id(text: str) -> bool:
    """Whether the text can be a server id: `WA1ALIASWB01`, in any case.

    The API takes data centre, account alias, name and number without a separator, so no more
    than the characters can be checked without asking it.
    """
    return re.fullmatch(_SERVER_ID, text) is not None


def is_operation_id(text: str) -> bool:
    """Whether the text can stand in a URL's path as a status id, as `wa1-12345` can."""
    return re.fullmatch(_PATH_SEGMENT, text) is not None


def looks_like_operation_id(text: str) -> bool:
    """Whether the text has the form of the status ids that were recorded: `wa1-12345`."""
    return re.fullmatch(_OPERATION_ID, text) is not None


def looks_like_run(text: str) -> bool:
    """Whether the text begins as the journal's names of runs do: `20260115-021305-3f9a12bc`."""
    return re.fullmatch(_RUN, text) is not None


def is_account_alias(text: str) -> bool:
    """Whether the text can be an account alias, and so be put into a URL's path."""
    return re.fullmatch(_ACCOUNT_ALIAS, text) is not None


def datacenter_of(server: str) -> str:
    """The data centre that a server's id begins with, in upper case: `WA1`."""
    return server[:3].upper()


def api_origin(base_url: str) -> str:
    """The origin that a base URL names, in its one spelling: `https://api.ctl.io`.

    Raises ValueError, its text the reason, for what isn't an https origin; http is for loopback.
    """
    found = re.fullmatch(_BASE_URL, base_url.strip().lower())
    if not found:
        raise ValueError("it isn't a URL of the form https://HOST[:PORT]")
    scheme, host, port = found["scheme"], found["host"], found["port"]
    if scheme == "http" and not is_loopback(host):
        raise ValueError("it isn't https, and only a loopback address may do without")
    number = int(port or _DEFAULT_PORTS[scheme])
    if not 0 < number <= LARGEST_PORT:
        raise ValueError(f"there is no port {number}")
    return f"{scheme}://{host}" + ("" if number == _DEFAULT_PORTS[scheme] else f":{number}")


def is_loopback(host: str) -> bool:
    """Whether a host, as a URL has it, is this machine: `localhost`, `127.0.0.1`, `[::1]`."""
    return re.fullmatch(_LOOPBACK, host.lower()) is not None
