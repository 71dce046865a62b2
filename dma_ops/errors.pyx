# SPDX-License-Identifier: MIT
"""The exceptions of the Python API, and how C code raises the two that stand for a dead kernel."""

import errno
import os

# what Linux's callers are told by each errno of dma_map_sgtable (kernel/dma/mapping.c, Linux 6.1)
_RETRYABLE = frozenset({errno.ENOMEM, errno.EAGAIN})


class DmaError(OSError):
    """A DMA call failed as it would in Linux; .errno is the positive errno, .retryable whether a retry can help."""

    def __init__(self, code, message=None):
        code = abs(int(code))
        super().__init__(code, message or os.strerror(code))

    @property
    def retryable(self):
        return self.errno in _RETRYABLE


class DmaFault(Exception):
    """A device's access was refused by the translation hardware, or reached nothing.

    address is the bus address of the first byte that failed, reason one of "not-present", "permission",
    "out-of-range" and "malformed".
    """

    def __init__(self, address, reason, write):
        self.address = address
        self.reason = reason
        self.write = bool(write)
        super().__init__(f"device {'write' if write else 'read'} at bus address {address:#x}: {reason}")

    def __reduce__(self):
        return (DmaFault, (self.address, self.reason, self.write))


class KernelBug(Exception):
    """Linux would BUG(), panic or dereference a wild pointer here; the message is Linux's where it has one."""


class KernelHang(KernelBug):
    """Linux would loop for ever here (with a spinlock held, as a rule)."""


cdef int kernel_bug(const char *message) except -9999 nogil:
    with gil:
        raise KernelBug(message.decode())


cdef int kernel_hang(const char *message) except -9999 nogil:
    with gil:
        raise KernelHang(message.decode())
