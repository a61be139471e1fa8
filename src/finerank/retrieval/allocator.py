"""The C library's allocator, told to give freed memory back. Does nothing where it is not glibc's."""

import ctypes
import sys

_M_MMAP_THRESHOLD = -3  # malloc.h
_LARGE_BYTES = 128 << 10
"""glibc's own threshold at first. It raises it to 32 MB as large blocks are freed, and then keeps what LanceDB frees
while it joins files: 150 MB for 100,000 passages. Set once, it stays."""


def return_large_blocks() -> None:
    """From now on memory of large blocks goes back when they are freed."""
    _call("mallopt", _M_MMAP_THRESHOLD, _LARGE_BYTES)


def return_free_memory() -> None:
    """Give back what is free now."""
    _call("malloc_trim", 0)


def _call(name: str, *values: int) -> None:
    if sys.platform != "linux":
        return
    function = getattr(ctypes.CDLL(None), name, None)  # musl has neither
    if function is not None:
        function(*values)
