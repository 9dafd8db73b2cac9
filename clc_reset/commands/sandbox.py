"""`clc sandbox`: serve a cloud on loopback, for one command or until it is stopped."""

import os
import shlex
import shutil
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from clc_reset.commands.session import Session
from clc_reset.errors import UsageError
from clc_reset.exit_codes import ExitCode
from clc_reset.sandbox.cloud import Behaviour, Cloud
from clc_reset.sandbox.inventory import ALIAS, PASSWORD, USERNAME
from clc_reset.sandbox.server import Server, serve_beside
from clc_reset.text import count, enumerate_names, quote
from clc_reset.ui.streams import is_terminal

__all__ = ["Behaviour", "run"]

# Variables that would lead a client elsewhere, or to another account.
_MISLEADING = (
    "CLC_TOKEN",
    "CLC_TOKEN_FILE",
    "CLC_PASSWORD_FILE",
    "CLC_ACCOUNT",
    "CLC_ALIAS",
    "CLC_NO_JOURNAL",
    "CLC_USER",  # of the official Go CLI, which has no variable for a base URL
    "CLC_V2_API_TOKEN",  # these two of the Ansible modules
    "CLC_ACCT_ALIAS",
)
_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
_NOT_EXECUTABLE, _NOT_FOUND = 126, 127  # where env and the shells end so
_SHELLS = {"sh", "bash", "zsh", "dash", "fish", "ksh"}


def run(
    session: Session, command: Sequence[str], behaviour: Behaviour, port: int, latency: float
) -> int:
    """Serve a cloud for a command, or until a signal; return the exit code.

    Without a command, standard output gets shell commands that point the clients of another shell
    here. Raises UsageError and Interrupted.
    """
    log = session.streams.note if session.verbose or not command else lambda _line: None
    with _start(behaviour, port, latency, log) as server, _state_folder() as folder:
        if command:
            return _become(command, server, folder, session)
        _invite(server, folder, session)
        with session.inbox.interruptible():
            server.serve_forever()
    return ExitCode.OK


def _start(behaviour: Behaviour, port: int, latency: float, log: Callable[[str], None]) -> Server:
    """Return a server of a new cloud that listens on loopback; `latency` is in seconds.

    Raises UsageError if the cloud has no server of that name, or the port can't be used.
    """
    cloud = Cloud(behaviour, time.time, Random())  # noqa: S311 - it shuffles answers
    unknown = sorted((behaviour.refuse | behaviour.fail) - cloud.servers.keys())
    if unknown:
        raise UsageError(
            f"The sandbox has no server {', '.join(unknown)}.",
            hint=f"It has, among others: {', '.join(list(cloud.servers)[:12])}",
        )
    try:
        return Server(cloud, port=port, latency=latency, log=log)
    except OSError as error:
        raise UsageError(
            f"Port {port} can't be used: {error.strerror}.",
            hint="Leave --port out to take a free one.",
        ) from error


def _become(command: Sequence[str], server: Server, folder: str, session: Session) -> int:
    """Replace this process by a command that uses the server.

    Returns only where the command can't be run: the exit code.
    """
    search_path = f"{own_folder()}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    path = shutil.which(command[0], path=search_path)
    if path is not None:
        kept = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
        environ = {**kept, **_variables(server.url, folder), "PATH": search_path}
        # a shell without a script: `bash`, `/bin/zsh -l`, but not `sh -c …`
        shell, *options = command
        is_shell = Path(shell).name in _SHELLS and all(option.startswith("-") for option in options)
        if is_shell and is_terminal(sys.stdin) and is_terminal(sys.stderr):
            session.streams.note(f"Sandbox at {server.url}, account {ALIAS}. 'exit' leaves it.")
        clean_up = partial(shutil.rmtree, folder, ignore_errors=True)
        try:
            serve_beside(
                server, path, command, environ, quiet=not session.verbose, clean_up=clean_up
            )
        except OSError as error:
            reason, code = f"{error.strerror}", _NOT_EXECUTABLE
    elif Path(command[0]).exists() or shutil.which(command[0], mode=os.F_OK, path=search_path):
        reason, code = "not executable", _NOT_EXECUTABLE
    else:
        reason, code = "not found", _NOT_FOUND
    session.renderer.error(UsageError.kind, f"{quote(command[0])}: {reason}.", "", code)
    return code


def _invite(server: Server, folder: str, session: Session) -> None:
    """Print the servers, and the shell commands that point a client at them."""
    servers = list(server.cloud.servers)
    session.streams.note(
        f"A CLC cloud is running on this machine, with {count(len(servers), 'server')}: "
        f"{enumerate_names(servers)}.\n"
        "To use it in another terminal:\n"
    )
    misleading = [name for name in _MISLEADING if os.environ.get(name)]
    if misleading:
        session.streams.print_result(f"unset {' '.join(misleading)}\n")
    for name, value in _variables(server.url, folder).items():
        session.streams.print_result(f"export {name}={shlex.quote(value)}\n")
    session.streams.note("\nand there: clc reset WA1ALIASWB01 WA1ALIASWB02\nCtrl-C ends it.")


def _variables(url: str, folder: str) -> dict[str, str]:
    """Return the variables of `clc` and of other clients, and those that lead past a proxy.

    CLC_USERNAME and CLC_PASSWORD are shared by most clients, CLC_BASE_URL by some. It has no path,
    as clcv2 has it; a client that expects one (the official Go SDK) needs `$CLC_BASE_URL/v2`.
    CLC_API_ENDPOINT is the Puppet module's, CLC_V2_… the Ansible modules'. Without them these would
    reach the platform itself, the first with the sandbox's password.
    """
    variables = {
        "CLC_BASE_URL": url,
        "CLC_USERNAME": USERNAME,
        "CLC_PASSWORD": PASSWORD,
        "CLC_STATE_DIR": folder,
        "CLC_API_ENDPOINT": url,
        "CLC_V2_API_URL": url,
        "CLC_V2_API_USERNAME": USERNAME,
        "CLC_V2_API_PASSWD": PASSWORD,
    }
    if any(os.environ.get(name) for name in _PROXIES):
        others = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
        without = ",".join(filter(None, (others, "127.0.0.1")))
        variables |= {"no_proxy": without, "NO_PROXY": without}
    return variables


def _state_folder() -> TemporaryDirectory[str]:
    """Return a new folder (0700) for the journal of a rehearsal. Raises UsageError."""
    try:
        return TemporaryDirectory(prefix="clc-sandbox-", ignore_cleanup_errors=True)
    except OSError as error:
        raise UsageError(
            f"No temporary folder can be made: {error.strerror}.",
            hint="Set TMPDIR to a folder that you can write to.",
        ) from error


def own_folder() -> str:
    """Return the folder of the running `clc`, or of the installed one for `python -m clc_reset`."""
    own = Path(sys.argv[0]).absolute()  # not resolved: a link's folder has it, too
    return f"{own.parent}" if own.name == "clc" else sysconfig.get_path("scripts")
