"""The C library's allocator, told to give freed memory back, or to keep it. Does nothing where it is not glibc's."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # malloc.h
_NEVER = (1 << 31) - 1
_LARGE_BYTES = 128 << 10
"""glibc's own threshold at first. It raises it to 32 MB as large blocks are freed, and then keeps what LanceDB frees
while it joins files: 150 MB for 100,000 passages. Set once, it stays."""


def return_large_blocks() -> None:
    """From now on memory of large blocks goes back when they are freed."""
    _call("mallopt", _M_MMAP_THRESHOLD, _LARGE_BYTES)


def keep_large_blocks() -> None:
    """From now on memory of large blocks is kept for the next ones, and not fetched anew from the kernel."""
    _call("mallopt", _M_MMAP_MAX, 0)
    _call("mallopt", _M_TRIM_THRESHOLD, _NEVER)


def return_free_memory() -> None:
    """Give back what is free now."""
    _call("malloc_trim", 0)


def _call(name: str, *values: int) -> None:
    if sys.platform != "linux":
        return
    function = getattr(ctypes.CDLL(None), name, None)  # musl has neither
    if function is not None:
        function(*values)
