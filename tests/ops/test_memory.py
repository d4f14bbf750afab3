"""Memory that was given back goes back to the system, however it lay among what stayed (Linux with glibc)."""

import os
import platform
import subprocess
import sys

import pytest

# A burst of blocks of 400 kB with small ones that stay in between; prints how many of the 80 MiB stay resident.
BURST = """
import ctypes, sys
from pathlib import Path
from daemon.memory import keep_little

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4 // 1024

if sys.argv[1] == "ours":
    keep_little()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
libc.free(libc.malloc(400_000))  # glibc takes this for a sign that such blocks belong into the heap
before, large = resident(), []
for _ in range(200):
    large.append(libc.malloc(400_000))
    ctypes.memset(large[-1], 1, 400_000)
    libc.malloc(2_000)
for block in large[::2] + large[1::2]:
    libc.free(block)
libc.malloc(1_000_000)
print(resident() - before)
"""


def kept(who: str) -> int:
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run([sys.executable, "-c", BURST, who], env=env, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_a_burst_leaves_little_behind() -> None:
    assert kept("ours") <= 4
    assert kept("theirs") >= 40  # else this test would show nothing
