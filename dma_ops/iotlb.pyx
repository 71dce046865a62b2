# SPDX-License-Identifier: MIT
"""The hardware's memory of translations: what it took from a table once, until it is told to forget it.

A walker with one puts into it whatever it translates for an access of the device, and does not look at the table again
for that granule. Only a command takes an entry away: a register write, a descriptor in a queue, a call of the
hypervisor. The walker decodes the command; map code writes it and knows nothing of the entries. Like the real ones it
is small and direct-mapped, so that an entry may also go because another takes its place. What is not present is never
remembered, and an access that an entry does not allow walks the table again.
"""

from libc.stdlib cimport calloc, free

cdef enum:
    IOTLB_READ = 1
    IOTLB_WRITE = 2


cdef class Iotlb:
    """shift: of the granule, the smallest page of the table. deaf, short: faults of the path that commands take."""

    def __init__(self, unsigned int shift):
        if not 9 <= shift <= 30:
            raise ValueError(f"a granule of 1 << {shift} bytes")
        self.shift = shift
        self.epoch = 1

    def __dealloc__(self):
        free(self.entries)

    def __len__(self):
        cdef int i
        return sum(self.entries[i].epoch == self.epoch for i in range(IOTLB_ENTRIES)) if self.entries != NULL else 0

    def holds(self, u64 addr, bint write=False):
        """The physical address that an access would take from here; None if it would walk the table."""
        cdef u64 phys = 0, run = 0
        return phys if self.find(addr, write, &phys, &run) else None

    cdef bint find(self, u64 addr, bint write, u64 *phys, u64 *run) noexcept nogil:
        """Where addr leads, and the bytes to the end of its granule; False: walk the table."""
        cdef u64 page = addr >> self.shift, inside = addr & ((<u64>1 << self.shift) - 1)
        cdef const iotlb_entry *entry
        if self.entries == NULL:
            return False
        entry = &self.entries[page & (IOTLB_ENTRIES - 1)]
        if entry.page != page or entry.epoch != self.epoch or not entry.rights & (IOTLB_WRITE if write else IOTLB_READ):
            return False
        phys[0] = entry.frame + inside
        run[0] = (<u64>1 << self.shift) - inside
        return True

    cdef void fill(self, u64 addr, u64 phys, u64 run, u64 want, bint write) noexcept nogil:
        """Remember the granules of the want bytes from addr on, of which run follow one another from phys on."""
        cdef u64 granule = <u64>1 << self.shift, page = addr >> self.shift, inside = addr & (granule - 1)
        cdef u64 frame = phys - inside, left = run + inside, wanted = want + inside
        cdef iotlb_entry *entry
        cdef int _
        cdef u32 right = IOTLB_WRITE if write else IOTLB_READ
        if self.entries == NULL:
            self.entries = <iotlb_entry *>calloc(IOTLB_ENTRIES, sizeof(iotlb_entry))
        if self.entries == NULL or left < run or wanted < want:
            return
        for _ in range(IOTLB_ENTRIES):
            if left < granule:                  # the rest of the granule may lead elsewhere
                break
            entry = &self.entries[page & (IOTLB_ENTRIES - 1)]
            if entry.page == page and entry.frame == frame and entry.epoch == self.epoch:
                entry.rights |= right
            else:
                entry.page = page
                entry.frame = frame
                entry.epoch = self.epoch
                entry.rights = right
                self.fills += 1
            if wanted <= granule:
                break
            left -= granule
            wanted -= granule
            frame += granule
            page += 1

    cdef void invalidate(self, u64 addr, u64 size) noexcept nogil:
        """Forget the granules that have a byte of [addr, addr + size)."""
        cdef u64 page = addr >> self.shift, n
        cdef iotlb_entry *entry
        cdef u64 i
        self.commands += 1
        if self.deaf or self.entries == NULL or size == 0:
            return
        n = ((addr + size - 1) >> self.shift) - page + 1
        if self.short and n > 1:
            n -= 1
        if n < IOTLB_ENTRIES:
            for i in range(n):
                entry = &self.entries[(page + i) & (IOTLB_ENTRIES - 1)]
                if entry.page == page + i:
                    entry.epoch = 0
        else:
            for i in range(IOTLB_ENTRIES):
                if self.entries[i].page - page < n:
                    self.entries[i].epoch = 0

    cdef void invalidate_all(self) noexcept nogil:
        self.commands += 1
        if not self.deaf:
            self.epoch += 1
