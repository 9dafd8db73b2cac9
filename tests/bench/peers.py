"""Other people's commands that ask for a reset or a reboot, where this machine has them."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

from tests.bench.measuring import Command
from tests.fakes import jwt

_SDK = """
import sys, clc
clc.defaults.ENDPOINT_URL_V2, clc._LOGIN_TOKEN_V2, *servers = sys.argv[1:]
print(clc.v2.Servers(servers, alias="ABCD").Reset().requests)
"""


def peers(
    url: str, servers: Sequence[str], env: Mapping[str, str]
) -> Iterator[tuple[str, Command | None]]:
    """Names, and commands for those that are there."""
    token = jwt()
    name = "clc-sdk, the official Python SDK"
    python = next(filter(_has_the_sdk, (sys.executable, shutil.which("python3") or "")), None)
    script = (python or "", "-c", _SDK, url, token, *servers)
    yield name, Command(name, script, env, is_ours=False) if python else None
    reset = f"{url}/v2/operations/ABCD/servers/reset"
    headers = ("-H", f"Authorization: Bearer {token}", "-H", "Content-Type: application/json")
    yield _installed("curl", ("-sS", *headers, "-d", json.dumps(servers), reset), env)
    yield _installed(
        "aws ec2 reboot-instances",
        ("--endpoint-url", url, "--region", "us-east-1", "--instance-ids", "i-1", "i-2"),
        {**env, "AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": "demo"},
    )
    host = {"LINODE_CLI_API_SCHEME": "http", "LINODE_CLI_API_HOST": url.removeprefix("http://")}
    yield _installed(
        "linode-cli linodes reboot", ("1",), {**env, **host, "LINODE_CLI_TOKEN": "demo"}
    )


def _installed(
    name: str, arguments: Sequence[str], env: Mapping[str, str]
) -> tuple[str, Command | None]:
    program, *words = name.split()
    path = shutil.which(program)
    return name, Command(name, (path, *words, *arguments), env, is_ours=False) if path else None


def _has_the_sdk(python: str) -> bool:
    command = [python, "-c", "import clc.APIv2"]
    return (
        bool(python) and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )
