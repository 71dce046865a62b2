# SPDX-License-Identifier: MIT
"""How C code reports what is no errno: where Linux would BUG(), oops or never return."""

cdef int kernel_bug(const char *message) except -9999 nogil
cdef int kernel_hang(const char *message) except -9999 nogil
