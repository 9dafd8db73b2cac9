"""Runs one command, given as JSON, and prints what it took, its exit code and its lines.

The kernel counts no peak memory below that of the process that started a command: so this one is
apart, and imports next to nothing.
"""

import json
import os
import sys
import time

PER_MIB = 2**20 if sys.platform == "darwin" else 2**10  # of what the kernel counts in

argv, env, stdin = json.loads(sys.argv[1])
reader, writer = os.pipe()
actions = [(os.POSIX_SPAWN_OPEN, 0, stdin, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, writer, 1)]
began = time.perf_counter()
process = os.posix_spawn(argv[0], argv, env, file_actions=actions)
os.close(writer)
lines = 0
while chunk := os.read(reader, 65536):
    lines += chunk.count(b"\n")
_, status, used = os.wait4(process, 0)
wall, cpu = time.perf_counter() - began, used.ru_utime + used.ru_stime
code = os.waitstatus_to_exitcode(status)
print(json.dumps([[wall, cpu, used.ru_maxrss / PER_MIB], code, lines]))
