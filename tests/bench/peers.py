"""Other people's commands that ask for a reset or a reboot, where this machine has them."""

import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from tests.bench.measuring import Command
from tests.fakes import jwt

Named: TypeAlias = tuple[str, Command | None]
"""A name, and the command, if it is there."""
Env: TypeAlias = Mapping[str, str]

PATIENCE = 2
"""Seconds that a command waits for an answer, where it lets itself be told."""

_SDK = """
import sys, clc
clc.defaults.ENDPOINT_URL_V2, clc._LOGIN_TOKEN_V2, *servers = sys.argv[1:]
print(clc.v2.Servers(servers, alias="ABCD").Reset().requests)
"""
_REQUESTS = f"""
import sys, requests, urllib3
url, token, *servers = sys.argv[1:]
retry = urllib3.Retry(
    total=3, backoff_factor=0.1, status_forcelist=[500, 502, 503, 504], allowed_methods=None
)
session = requests.Session()
session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retry))
authorization = {{"Authorization": f"Bearer {{token}}"}}
answer = session.post(url, json=servers, headers=authorization, timeout={PATIENCE})
answer.raise_for_status()
"""
_HTTPX = f"""
import sys, httpx
url, token, *servers = sys.argv[1:]
client = httpx.Client(transport=httpx.HTTPTransport(retries=3), timeout={PATIENCE})
authorization = {{"Authorization": f"Bearer {{token}}"}}
client.post(url, json=servers, headers=authorization).raise_for_status()
"""


def peers(url: str, servers: Sequence[str], env: Env) -> Iterator[Named]:
    """Yield those whose time is measured."""
    yield _script("clc-sdk, the official Python SDK", "clc.APIv2", _SDK, (url, *servers), env)
    yield _curl("curl", url, servers, env, "-sS")
    yield _aws(url, env, "--instance-ids", "i-1", "i-2")
    yield _linode(url, env)


def repeaters(url: str, servers: Sequence[str], env: Env) -> Iterator[Named]:
    """Yield those that may send one reset several times; with no more patience than need be.

    What they repeat is what they repeat by default, but for those named after their retries.
    """
    limits = ("-fsS", "--max-time", str(PATIENCE))
    yield _curl("curl", url, servers, env, *limits)
    yield _curl("curl --retry 5", url, servers, env, *limits, "--retry-delay", "1")
    reset = f"{url}/v2/operations/ABCD/servers/reset"
    for name, script in (("requests with Retry", _REQUESTS), ("httpx with retries=3", _HTTPX)):
        yield _script(name, name.split()[0], script, (reset, *servers), env)
    yield _script("clc-sdk (Python)", "clc.APIv2", _SDK, (url, *servers), env)
    yield _aws(url, env, "--instance-ids", "i-1", "--cli-read-timeout", str(PATIENCE))
    hetzner = {"HCLOUD_ENDPOINT": url, "HCLOUD_TOKEN": "demo"}
    yield _installed("hcloud server reset", ("1",), {**env, **hetzner})
    yield _linode(url, env)
    stack = {"OS_AUTH_TYPE": "admin_token", "OS_ENDPOINT": f"{url}/v2.1", "OS_TOKEN": "demo"}
    yield _installed("openstack server reboot --hard", ("1",), {**env, **stack})


def _curl(name: str, url: str, servers: Sequence[str], env: Env, *options: str) -> Named:
    headers = ("-H", f"Authorization: Bearer {jwt()}", "-H", "Content-Type: application/json")
    reset = f"{url}/v2/operations/ABCD/servers/reset"
    return _installed(name, (*options, *headers, "-d", json.dumps(servers), reset), env)


def _aws(url: str, env: Env, *options: str) -> Named:
    arguments = ("--endpoint-url", url, "--region", "us-east-1", *options)
    keys = {"AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": "demo"}
    return _installed("aws ec2 reboot-instances", arguments, {**env, **keys})


def _linode(url: str, env: Env) -> Named:
    host = {"LINODE_CLI_API_SCHEME": "http", "LINODE_CLI_API_HOST": url.removeprefix("http://")}
    token = {"LINODE_CLI_TOKEN": "demo"}
    return _installed("linode-cli linodes reboot", ("1",), {**env, **host, **token})


def _installed(name: str, arguments: Sequence[str], env: Env) -> Named:
    program, *words = name.split()
    path = shutil.which(program)
    return name, Command(name, (path, *words, *arguments), env, is_ours=False) if path else None


def _script(name: str, module: str, script: str, arguments: Sequence[str], env: Env) -> Named:
    """A script that is given a URL, a token and servers."""
    python, (url, *servers) = _python_with(module), arguments
    argv = (python, "-c", script, url, jwt(), *servers)
    return name, Command(name, argv, env, is_ours=False) if python else None


@functools.cache
def _python_with(module: str) -> str:
    """Return this Python or the one on the PATH, whichever has the module, or nothing."""
    for python in filter(None, (sys.executable, shutil.which("python3"))):
        command = [python, "-c", f"import {module}"]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return python
    return ""
