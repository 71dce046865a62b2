# SPDX-License-Identifier: MIT
"""What the I/O page-table formats share: table pages in modelled memory, and a shortcut to the last leaf table.

Entries are 64-bit little-endian words. A format is a subclass that writes them as Linux's driver does; its walker reads
nothing but the memory behind `context`, the entry in which the hardware looks for the root.
"""

from libc.errno cimport ENOMEM

from .errors cimport kernel_bug
from .machine cimport PHYS_NONE, Machine

from .errors import DmaError


cdef class PageTable(IommuDomain):
    """One domain's table. Python sees map_pages and unmap_pages as the io_pgtable_ops of that name."""

    def __cinit__(self, Machine machine not None, *args, **facts):
        self.machine = machine

    cdef u64 *entry(self, phys_addr_t addr) except NULL nogil:
        """The table word at addr; those that follow it in the same 4 KiB follow it in the host's memory too."""
        cdef u64 *word = <u64 *>self.machine.mem.chunk(addr, True)
        if word == NULL:
            kernel_bug(b"no host memory for an I/O page table")
            return NULL
        return word + ((addr & 4095) >> 3)

    cdef phys_addr_t new_table(self, u64 size) except? 0xBADBADBADBADBAD nogil:
        """A zeroed, naturally aligned table page; PHYS_NONE if there is no memory."""
        cdef phys_addr_t table = self.machine.alloc_table(size, size)
        if table != PHYS_NONE:
            self.tables += 1
        return table

    cdef int drop_table(self, phys_addr_t table, u64 size) except -9999 nogil:
        self.tables -= 1
        self.leaf = NULL
        return self.machine.free_table(table, size)

    cdef void remember_leaf(self, u64 iova, u64 *run) noexcept nogil:
        """run: the first of the 512 last-level entries among which that of iova is."""
        self.leaf_key = iova >> self.leaf_shift
        self.leaf = run

    cdef int warn_iova(self, const char *message, u64 iova) except -9999 nogil:
        with gil:
            self.machine.dmesg.append(f"{message.decode()} (iova {iova:#x})")
        return 0

    def _first_table(self, u64 size):
        """The root; Linux answers -ENOMEM to the domain's creation without it."""
        root = self.new_table(size)
        if root == PHYS_NONE:
            raise DmaError(ENOMEM, "no memory for the root of an I/O page table")
        return root

    def map(self, u64 iova, u64 phys, size_t pgsize, size_t pgcount=1, int prot=3):
        """Write pgcount entries of pgsize, where one call of the driver may stop early at the end of a table.

        The bytes that were mapped. Raises DmaError, after which what came before the failing entry may be mapped.
        """
        cdef size_t mapped = 0
        cdef int ret = self.map_pages(iova, phys, pgsize, pgcount, prot, &mapped)
        if ret:
            raise DmaError(ret, f"map_pages of iova {iova:#x} to {phys:#x}, {pgcount} x {pgsize:#x}: {mapped:#x} done")
        return mapped

    def unmap(self, u64 iova, size_t pgsize, size_t pgcount=1):
        """Clear entries; the bytes that Linux says were unmapped."""
        return self.unmap_pages(iova, pgsize, pgcount)

    def lookup(self, u64 iova):
        """iova_to_phys(): 0 where Linux finds nothing."""
        return self.iova_to_phys(iova)

    def table(self):
        """The leaf entries {iova: entry}, read from the table's memory."""
        return {}

    def free(self):
        """Give back every table page, as the freeing of the domain does."""
