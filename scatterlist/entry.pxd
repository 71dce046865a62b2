# SPDX-License-Identifier: MIT
"""The Python handle of one entry, and how functions take a list from Python."""

from scatterlist.core cimport SgTable, scatterlist


cdef class SgEntry:
    """A struct scatterlist *: one entry of a table's list."""
    cdef readonly SgTable table
    cdef scatterlist *p
    cdef unsigned long generation

    cdef scatterlist *ptr(self) except NULL
    cdef scatterlist *data(self) except NULL

cdef SgEntry entry_at(SgTable table, scatterlist *p)
cdef scatterlist *as_sg(object sgl) except NULL
cdef SgTable table_of(object sgl)
cdef int trim_counts(SgTable table) except -1
