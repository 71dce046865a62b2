# SPDX-License-Identifier: MIT
"""The address table of a software vDPA device (drivers/vhost/iotlb.c): byte ranges with their permissions.

Linux keeps an interval tree. Ranges that come from an IOVA allocator are disjoint, so that every answer of the tree
follows from their order: here they are an array in descending order, to whose end a top-down allocator adds.
"""

from libc.errno cimport EFAULT, ENOMEM, ENOSPC

from dma_ops.device cimport WALK_NOT_PRESENT, WALK_OK, WALK_PERMISSION


cdef class VhostIotlb:
    """limit: how many entries it takes at most (the module parameter max_iotlb_entries)."""

    def __init__(self, Machine machine not None, u32 limit):
        if not 1 <= limit <= 1 << 20:
            raise ValueError(f"an IOTLB of {limit} entries, not 1 to {1 << 20}")
        self.machine = machine
        self.limit = limit
        self.base = machine.alloc_table(<u64>limit * IOTLB_ENTRY, 4096)

    def table(self):
        """{place in ascending order: (start, last, address, permission)}."""
        rows = [(self.machine.mem.read64(at + IOTLB_START, self.machine.big_endian),
                 self.machine.mem.read64(at + IOTLB_LAST, self.machine.big_endian),
                 self.machine.mem.read64(at + IOTLB_ADDR, self.machine.big_endian),
                 self.machine.mem.read32(at + IOTLB_PERM, self.machine.big_endian))
                for at in range(self.base, self.base + self.nmaps * IOTLB_ENTRY, IOTLB_ENTRY)]
        return dict(enumerate(reversed(rows)))

    cdef int add_range(self, u64 start, u64 last, u64 addr, u32 perm) except -9999 nogil:
        """0, -EFAULT for an empty range, -ENOSPC at the limit, or -ENOMEM."""
        cdef u64 place = self.base + <u64>self.nmaps * IOTLB_ENTRY
        cdef bint big_endian = self.machine.big_endian
        if last < start:
            return -EFAULT
        if self.nmaps >= self.limit:
            return -ENOSPC
        if self.machine.should_fail(b"table"):
            return -ENOMEM
        while place > self.base and self.machine.mem.read64(place - IOTLB_ENTRY + IOTLB_START, big_endian) < start:
            self.machine.mem.copy(place, place - IOTLB_ENTRY, IOTLB_ENTRY)
            place -= IOTLB_ENTRY
        self.machine.mem.write64(place + IOTLB_START, start, big_endian)
        self.machine.mem.write64(place + IOTLB_LAST, last, big_endian)
        self.machine.mem.write64(place + IOTLB_ADDR, addr, big_endian)
        self.machine.mem.write32(place + IOTLB_PERM, perm, big_endian)
        self.nmaps += 1
        return 0

    cdef s64 first(self, u64 start, u64 last) noexcept nogil:
        """The lowest entry that overlaps [start, last], or -1."""
        cdef s64 lo = 0, hi = self.nmaps, mid
        while lo < hi:                          # how many end at or above start: the last of them is the lowest
            mid = (lo + hi) >> 1
            if self.machine.mem.read64(self.base + mid * IOTLB_ENTRY + IOTLB_LAST, self.machine.big_endian) >= start:
                lo = mid + 1
            else:
                hi = mid
        if lo and self.machine.mem.read64(self.base + (lo - 1) * IOTLB_ENTRY + IOTLB_START,
                                          self.machine.big_endian) <= last:
            return lo - 1
        return -1

    cdef void remove(self, s64 i) noexcept nogil:
        cdef u64 place = self.base + i * IOTLB_ENTRY
        self.nmaps -= 1
        self.machine.mem.copy(place, place + IOTLB_ENTRY, (self.nmaps - i) * IOTLB_ENTRY)
        self.machine.mem.fill(self.base + <u64>self.nmaps * IOTLB_ENTRY, 0, IOTLB_ENTRY)

    cdef void del_range(self, u64 start, u64 last) noexcept nogil:
        """Remove every entry that overlaps [start, last], whole."""
        cdef s64 i = self.first(start, last)
        while i >= 0:
            self.remove(i)
            i = self.first(start, last)

    cdef int translate(self, u64 addr, bint write, u64 *target, u64 *run) noexcept nogil:
        """The device's own look-up (drivers/vhost/vringh.c: iotlb_translate): reads the entries only."""
        cdef u64 lo = self.base, hi = self.base + <u64>self.nmaps * IOTLB_ENTRY, mid, start, last
        while lo < hi:
            mid = lo + (hi - lo) // IOTLB_ENTRY // 2 * IOTLB_ENTRY
            start = self.machine.mem.read64(mid + IOTLB_START, self.machine.big_endian)
            last = self.machine.mem.read64(mid + IOTLB_LAST, self.machine.big_endian)
            if addr < start:
                lo = mid + IOTLB_ENTRY
            elif addr > last:
                hi = mid
            elif not (self.machine.mem.read32(mid + IOTLB_PERM, self.machine.big_endian)
                      & (VHOST_MAP_WO if write else VHOST_MAP_RO)):
                return WALK_PERMISSION
            else:
                target[0] = self.machine.mem.read64(mid + IOTLB_ADDR, self.machine.big_endian) + (addr - start)
                run[0] = last - addr + 1
                return WALK_OK
        return WALK_NOT_PRESENT
