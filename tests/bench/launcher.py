"""Runs one command after another, as lines of JSON ask for them, and tells what each took.

In a process of its own: a command's peak memory, as the kernel counts it, is never below that of
the process that started it, so this one imports next to nothing.
"""

import json
import os
import sys
import time

MAC_COUNTS_BYTES = 1 if sys.platform == "darwin" else 1024


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(measured(**json.loads(line))), flush=True)


def measured(
    argv: list[str], env: dict[str, str], stdin: str, stderr: str, *, on_terminal: bool
) -> dict[str, float]:
    """Wall and CPU seconds and peak bytes of a command; its exit code and its lines.

    Standard output is a pipe that is read to its end. On a terminal all three streams are that.
    """
    reader, writer = os.openpty() if on_terminal else os.pipe()
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = (
        [(os.POSIX_SPAWN_DUP2, writer, descriptor) for descriptor in range(3)]
        if on_terminal
        else [
            (os.POSIX_SPAWN_OPEN, 0, stdin, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, writer, 1),
            (os.POSIX_SPAWN_OPEN, 2, stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
        ]
    )
    began = time.perf_counter()
    process = os.posix_spawn(argv[0], argv, env, file_actions=actions)
    os.close(writer)
    lines = _lines_until_the_end(reader)
    _, status, used = os.wait4(process, 0)
    wall = time.perf_counter() - began
    os.close(reader)
    return {
        "wall": wall,
        "cpu": used.ru_utime + used.ru_stime,
        "peak": used.ru_maxrss * MAC_COUNTS_BYTES,
        "code": os.waitstatus_to_exitcode(status),
        "lines": lines,
    }


def _lines_until_the_end(reader: int) -> int:
    lines = 0
    try:
        while chunk := os.read(reader, 65536):
            lines += chunk.count(b"\n")
    except OSError:  # the end of a terminal
        pass
    return lines


if __name__ == "__main__":
    main()
