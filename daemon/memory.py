"""How the C library keeps memory that the program has given back: as little as possible, since we run for months."""

import ctypes
import os
from typing import Final

# Parameters of mallopt(3) and the variables that set them from outside, which are left alone where they are set.
M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
M_ARENA_MAX: Final = -8
WANTED: Final = (
    # An arena for each thread that ever allocated is a heap each that never shrinks as a whole.
    ("MALLOC_ARENA_MAX", M_ARENA_MAX, 1),
    # Left to itself, glibc moves both up to 32 and 64 MiB as soon as one large block was freed: what a burst of large
    # blocks needed then lies in the heap, between what stays.
    ("MALLOC_MMAP_THRESHOLD_", M_MMAP_THRESHOLD, 256 * 1024),
    ("MALLOC_TRIM_THRESHOLD_", M_TRIM_THRESHOLD, 128 * 1024),
)


def keep_little() -> None:
    """Tell glibc's allocator; to be called before there are threads. Does nothing where there is another C library.

    Measured by `make soak`: docs/reliability.md.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for variable, parameter, value in WANTED:
            if variable not in os.environ:
                mallopt(parameter, value)
