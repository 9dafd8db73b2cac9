"""A desktop session for one test: a D-Bus of its own, no screen, and the GNOME keyring."""

import os
import shutil
import signal
import subprocess

_PACKAGES = {
    "dbus-run-session": "dbus",
    "gdbus": "libglib2.0-bin",
    "gnome-keyring-daemon": "gnome-keyring",
}
MISSING = ", ".join(
    f"{tool} (Debian package {package})"
    for tool, package in _PACKAGES.items()
    if shutil.which(tool) is None
)
"""The tools that are not on PATH."""

_TELL_THE_ADDRESS_AND_STAY = 'echo "$DBUS_SESSION_BUS_ADDRESS"; exec cat'


class Desktop:
    """A session bus in the environment as it is. What runs on it is one process group."""

    def __init__(self) -> None:
        self._bus = _start(0, "dbus-run-session", "sh", "-c", _TELL_THE_ADDRESS_AND_STAY)
        self._processes = [self._bus]
        assert self._bus.stdout
        self.address = self._bus.stdout.readline().decode().strip()

    def start_keyring(self, password: bytes = b"") -> None:
        """Start the daemon, unlocked with a password or else locked, and wait until it serves."""
        unlock = ["--unlock"] if password else []
        daemon = _start(
            self._bus.pid, "gnome-keyring-daemon", "--foreground", "--components=secrets", *unlock
        )
        self._processes.append(daemon)
        assert daemon.stdin
        with daemon.stdin as stdin:
            stdin.write(password)
        served = ("wait", "--session", "--timeout", "20", "org.freedesktop.secrets")
        with _start(self._bus.pid, "gdbus", *served) as asked:
            asked.communicate()
        assert asked.returncode == 0

    def restart_keyring(self, password: bytes = b"") -> None:
        """End the daemon and start another, as a logout and a login do."""
        with self._processes.pop() as daemon:
            daemon.terminate()
        self.start_keyring(password)

    def freeze_keyring(self) -> None:
        """Let the daemon take what it is asked, and never answer."""
        self._processes[-1].send_signal(signal.SIGSTOP)

    def end(self) -> None:
        """End all that runs on the bus, and the bus."""
        os.killpg(self._bus.pid, signal.SIGTERM)
        os.killpg(self._bus.pid, signal.SIGCONT)
        for process in self._processes:
            with process:
                pass  # what waits for it, and closes its pipes


def _start(group: int, *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        process_group=group,
    )
