"""Runs one command, given as JSON, and prints what it took.

A process of its own: a command's peak memory, as the kernel counts it, is never below that of the
process that started it, so this one imports next to nothing.
"""

import json
import os
import sys
import time

MAC_COUNTS_BYTES = 1 if sys.platform == "darwin" else 1024


def measured(argv: list[str], env: dict[str, str], stdin: str) -> dict[str, float]:
    """Return a command's wall and CPU seconds and peak bytes, its exit code and its lines.

    Its standard output is a pipe that is read to its end.
    """
    reader, writer = os.pipe()
    actions = [(os.POSIX_SPAWN_OPEN, 0, stdin, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, writer, 1)]
    began = time.perf_counter()
    process = os.posix_spawn(argv[0], argv, env, file_actions=actions)
    os.close(writer)
    lines = 0
    while chunk := os.read(reader, 65536):
        lines += chunk.count(b"\n")
    _, status, used = os.wait4(process, 0)
    return {
        "wall": time.perf_counter() - began,
        "cpu": used.ru_utime + used.ru_stime,
        "peak": used.ru_maxrss * MAC_COUNTS_BYTES,
        "code": os.waitstatus_to_exitcode(status),
        "lines": lines,
    }


if __name__ == "__main__":
    print(json.dumps(measured(**json.loads(sys.argv[1]))))
