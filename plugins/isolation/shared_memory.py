"""Memory that two processes share for one message. Linux only; elsewhere arrays travel inside the message."""

import ctypes
import mmap
import os
import weakref
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

SMALLEST = 2**16  # bytes; fewer travel faster inside the message
_PAGE_PRESENT_OR_SWAPPED, _PAGE_OF_FILE = 0b11 << 62, 1 << 61  # bits of /proc/self/pagemap


def shares(size: int) -> bool:
    """Whether so many bytes are passed in shared memory."""
    return size >= SMALLEST and hasattr(os, "memfd_create")


class Segment:
    """Bytes in shared memory. Another process of the same user opens it at `place`, until it is closed."""

    def __init__(self, pieces: Sequence[Any]) -> None:
        self._file = os.memfd_create("latentloom")
        try:
            for piece in pieces:
                _write(self._file, memoryview(piece))
        except BaseException:
            self.close()
            raise
        self.place = f"/proc/{os.getpid()}/fd/{self._file}"

    def close(self) -> None:
        """Release the memory here. Those who opened it keep it."""
        os.close(self._file)


def _write(file: int, data: memoryview) -> None:
    while data:
        data = data[os.write(file, data) :]


class Mapping:
    """The bytes of a segment in this process, `data`: a writable uint8 array.

    Writes change the mapping of this process only, and `written` tells of them. The memory is released with the last
    array that uses it.
    """

    def __init__(self, place: str, size: int) -> None:
        file = os.open(place, os.O_RDWR)
        try:
            if os.fstat(file).st_size != size:
                raise ValueError("the shared memory has another size than the message says")
            self._address = _mapped(file, size, mmap.MAP_PRIVATE)
        finally:
            os.close(file)
        memory = (ctypes.c_ubyte * size).from_address(self._address)
        weakref.finalize(memory, _libc().munmap, self._address, size).atexit = False
        self.data = np.frombuffer(memoryview(memory), np.uint8)

    def written(self, first: int, size: int) -> bool:
        """Whether this process has written to a page of these bytes since the mapping was made."""
        begin, end = (self._address + first) // mmap.PAGESIZE, -(-(self._address + first + size) // mmap.PAGESIZE)
        with open("/proc/self/pagemap", "rb", buffering=0) as file:  # noqa: PTH123 - Path has no unbuffered seek
            file.seek(8 * begin)
            pages = np.frombuffer(file.read(8 * (end - begin)), np.uint64)
        there = (pages & np.uint64(_PAGE_PRESENT_OR_SWAPPED)) != 0
        return bool((there & ((pages & np.uint64(_PAGE_OF_FILE)) == 0)).any())


def _mapped(file: int, size: int, kind: int) -> int:
    """Return the address. `mmap.mmap` would keep a file descriptor open for each mapping."""
    address = _libc().mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, kind, file, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "shared memory cannot be mapped")
    return int(address)


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_longlong)
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    return libc
