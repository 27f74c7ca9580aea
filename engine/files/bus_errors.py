"""Bus errors: reads of a mapped file beyond its end, after another process truncated the file.

The system sends SIGBUS for such a read, which ends the process. The signal arrives in the computing thread, with or
without the GIL, so a handler in Python could wait forever. This handler is a few instructions of machine code, like
the one of systemd's journal in C (src/basic/sigbus.c): it maps a page of zeros in place of the missing page and
increments a counter, and the computation continues. The caller compares the counter and discards the result.
"""

import contextlib
import ctypes
import mmap
import platform
import signal
import struct
import sys
from functools import cache

PAGE = 4096
_RT_SIGACTION = 13
_SA_SIGINFO, _SA_RESTORER = 0x4, 0x04000000
_ACTION = struct.Struct("<QQQQ")  # the kernel's: handler, flags, restorer, mask
_HANDLER = bytes.fromhex(
    "837e0802"  # handler: cmp dword [rsi+8], 2   si_code: BUS_ADRERR, the page does not exist
    "753f"  # jne other
    "488b7e10"  # mov rdi, [rsi+16]   si_addr
    "4881e700f0ffff"  # and rdi, -4096
    "488b0558000000"  # mov rax, [rip+data]
    "f048ff00"  # lock inc qword [rax]
    "be00100000"  # mov esi, 4096
    "ba03000000"  # mov edx, PROT_READ | PROT_WRITE
    "41ba32000000"  # mov r10d, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS
    "49c7c0ffffffff"  # mov r8, -1
    "4531c9"  # xor r9d, r9d
    "b809000000"  # mov eax, mmap
    "0f05"  # syscall
    "483d01f0ffff"  # cmp rax, -4095
    "721f"  # jb done
    "bf07000000"  # other: mov edi, SIGBUS   restores the previous action; the read is then retried
    "488b351f000000"  # mov rsi, [rip+data]
    "4883c608"  # add rsi, 8
    "31d2"  # xor edx, edx
    "41ba08000000"  # mov r10d, 8
    "b80d000000"  # mov eax, rt_sigaction
    "0f05"  # syscall
    "c3"  # done: ret
    "b80f000000"  # restorer: mov eax, rt_sigreturn
    "0f05"  # syscall
    "0f1f4000"  # padding to 8 bytes; then data: the address of the counter, which the previous action follows
)
_RESTORER = 0x65


class BusErrors:
    """Counts the bus errors of this process and prevents them from ending it, if the platform allows it."""

    def __init__(self) -> None:
        self._data = mmap.mmap(-1, PAGE)
        self._code: mmap.mmap | None = None

    @property
    def count(self) -> int:
        """The number of missing pages that were read as zeros."""
        return int(struct.unpack_from("<Q", self._data)[0])

    def guard(self) -> None:
        """Install the handler, replacing any other. Linux on x86-64 only; elsewhere bus errors end the process."""
        if sys.platform != "linux" or platform.machine() != "x86_64":
            return
        with contextlib.suppress(OSError, AttributeError):  # the system forbids executable memory
            if self._code is None:
                self._code = self._made()
            begin = _address(self._code)
            if self._action() != begin:
                self._act(_ACTION.pack(begin, _SA_SIGINFO | _SA_RESTORER, begin + _RESTORER, 0))

    def _made(self) -> mmap.mmap:
        code = mmap.mmap(-1, PAGE)
        code.write(_HANDLER + struct.pack("<Q", _address(self._data)))
        _called("mprotect", ctypes.c_void_p(_address(code)), ctypes.c_size_t(PAGE), mmap.PROT_READ | mmap.PROT_EXEC)
        return code

    def _action(self) -> int:
        """Return the address of the installed handler."""
        found = ctypes.create_string_buffer(_ACTION.size)
        _sigaction(None, found)
        return int(_ACTION.unpack(found.raw)[0])

    def _act(self, action: bytes) -> None:
        before = ctypes.create_string_buffer(_ACTION.size)
        _sigaction(None, before)
        self._data[8 : 8 + _ACTION.size] = before.raw  # before the handler, which reads it, can run
        _sigaction(ctypes.create_string_buffer(action, _ACTION.size), None)


@cache
def bus_errors() -> BusErrors:
    """Return the counter of this process, which has one handler per signal."""
    return BusErrors()


def _address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _sigaction(new: ctypes.Array[ctypes.c_char] | None, old: ctypes.Array[ctypes.c_char] | None) -> None:
    """Call sigaction as a system call: its structure is always the same, unlike the C library's."""
    _called("syscall", ctypes.c_long(_RT_SIGACTION), ctypes.c_long(signal.SIGBUS), new, old, ctypes.c_size_t(8))


def _called(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        raise OSError(ctypes.get_errno(), name)
