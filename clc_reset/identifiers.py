"""The grammar of ids, aliases and base URLs, as far as it can be checked without a request."""

import os
import re

from clc_reset.errors import UsageError

DEFAULT_BASE_URL = "https://api.ctl.io"
ACCOUNT_VARIABLES = ("CLC_ACCOUNT", "CLC_ALIAS")
"""The variables for the account to act in; the first one that is set applies."""
LARGEST_PORT = 65535

# not compiled here: most runs need few of them, and re caches compiled patterns
_BASE_URL = (
    # no user, path, query or fragment; the `/v2` of other clients is accepted and dropped
    r"(?P<scheme>https?)://(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?:/v2)?/?"
)
_DEFAULT_PORTS = {"https": 443, "http": 80}


def is_server_id(text: str) -> bool:
    """Return whether a text can be a server id: `WA1ALIASWB01`, in upper or lower case.

    Only the characters are checked: data centre, account alias, name and number have no separator.
    """
    return re.fullmatch(r"[A-Za-z0-9_-]+", text) is not None


def looks_like_server_id(text: str) -> bool:
    """Return whether a text has the documented form of a server id.

    That is data centre (3 characters), account alias (2 to 4), name (up to 6) and number (2).
    """
    return re.fullmatch(r"[A-Za-z]{2}[A-Za-z0-9]{3,12}[0-9]{2}", text) is not None


def is_operation_id(text: str) -> bool:
    """Return whether a text can be a status id (`wa1-12345`) in a URL's path."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", text) is not None


def looks_like_operation_id(text: str) -> bool:
    """Return whether a text has the form of the recorded status ids: `wa1-12345`."""
    return re.fullmatch(r"[A-Za-z]{2}[A-Za-z0-9]-[A-Za-z0-9_-]+", text) is not None


def looks_like_run(text: str) -> bool:
    """Return whether a text begins as a run's id does: `20260115-021305-3f9a12bc`."""
    return re.fullmatch(r"[0-9]{8}-[0-9a-f-]*", text) is not None


def is_account_alias(text: str) -> bool:
    """Return whether a text can be an account alias in a URL's path."""
    return re.fullmatch(r"[A-Za-z0-9]+", text) is not None


def datacenter_of(server: str) -> str:
    """Return the data centre with which a server's id begins, in upper case: `WA1`."""
    return server[:3].upper()


def origin_in_use() -> str:
    """Return the origin of CLC_BASE_URL, or of the platform. Raises UsageError."""
    return api_origin(os.environ.get("CLC_BASE_URL") or DEFAULT_BASE_URL)


def api_origin(base_url: str) -> str:
    """Return the origin of a base URL in its one spelling: `https://api.ctl.io`.

    Only https is accepted, on a loopback address http as well. Raises UsageError.
    """
    match = re.fullmatch(_BASE_URL, base_url.strip().lower())
    if not match:
        raise unusable_base_url("it isn't a URL of the form https://HOST[:PORT]")
    scheme, host, port = match["scheme"], match["host"], match["port"]
    if scheme == "http" and not is_loopback(host):
        raise unusable_base_url("it isn't https, and http is only for loopback addresses")
    number = int(port or _DEFAULT_PORTS[scheme])
    if not 0 < number <= LARGEST_PORT:
        raise unusable_base_url(f"there is no port {number}")
    return f"{scheme}://{host}" + ("" if number == _DEFAULT_PORTS[scheme] else f":{number}")


def unusable_base_url(reason: str) -> UsageError:
    """Return the error for a CLC_BASE_URL that can't be one."""
    return UsageError(
        f"CLC_BASE_URL can't be used: {reason}.",
        hint=f"Set it to https://HOST, or unset it for {DEFAULT_BASE_URL}.",
    )


def is_loopback(host: str) -> bool:
    """Return whether a URL's host is this machine: `localhost`, `127.0.0.1`, `[::1]`, `::1`."""
    address = r"127(?:\.(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})){3}"  # others may be names
    return re.fullmatch(rf"localhost|{address}|::1|\[::1\]", host.lower()) is not None
