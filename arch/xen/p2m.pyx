# SPDX-License-Identifier: MIT
"""Guest frames and machine frames of a Xen guest (arch/x86/include/asm/xen/page.h, include/xen/arm/page.h, Linux 6.1).

A paravirtualised guest (PV) numbers its memory as it likes: its p2m table names the machine frame behind each guest
frame, the hypervisor's m2p table the way back. A translated guest (HVM, PVH) sees one number. On Arm frames are 1:1
but for pages of other domains that the guest has mapped, which Linux finds in one direction only. All frames are of
4 KiB. Memory itself lies at guest addresses here (Machine.mem): exchanging a frame changes only who is called what.
"""

from scatterlist.memory cimport _Borrowed, borrow_words

cdef u64 NONE = ~<u64>0                         # INVALID_P2M_ENTRY

GUESTS = {"pv": XEN_PV, "hvm": XEN_HVM, "arm": XEN_ARM}


cdef class P2m:
    """guest: "pv", "hvm" or "arm". frames, machine_frames: entries of the p2m and of the m2p table.

    free_top, gap: the hypervisor gives contiguous extents from free_top downwards, gap frames apart.
    """

    def __init__(self, Machine machine not None, str guest="pv", u64 frames=0, u64 machine_frames=0, *,
                 u64 free_top=0, u64 gap=1):
        if guest not in GUESTS:
            raise ValueError(f"a {guest!r} guest is none of {', '.join(GUESTS)}")
        if guest != "pv" and free_top:
            raise ValueError(f"a {guest} guest exchanges no frames")
        self.machine = machine
        self.guest = GUESTS[guest]
        self.free_top = free_top
        self.gap = gap
        self.extents = {}
        self.singles = []
        if self.guest != XEN_HVM:
            self.nr_frames = frames or machine.end_of_ram() >> XEN_PAGE_SHIFT
            self.nr_machine_frames = machine_frames or self.nr_frames
            self.p2m = machine.alloc_table(self.nr_frames * 8, XEN_PAGE_SIZE)
            self.m2p = machine.alloc_table(self.nr_machine_frames * 8, XEN_PAGE_SIZE)
            machine.mem.fill(self.p2m, 0xff, self.nr_frames * 8)
            machine.mem.fill(self.m2p, 0xff, self.nr_machine_frames * 8)

    def set(self, u64 pfn, u64 mfn, u64 n=1):
        """Let n frames from pfn on be the machine frames from mfn on."""
        if self.guest == XEN_HVM or pfn + n > self.nr_frames or mfn + n > self.nr_machine_frames:
            raise ValueError(f"frames {pfn:#x} and {mfn:#x} (+{n:#x}) are not in the tables")
        self.set_run(pfn, mfn, n)

    def load(self, u64 pfn, mfns):
        """The same, one machine frame after the other (array.array("Q"))."""
        cdef _Borrowed words = borrow_words(mfns)
        cdef const u64 *mfn = <const u64 *>words.view.buf
        cdef u64 i = 0, n, count = words.view.len // 8
        if self.guest == XEN_HVM or pfn + count > self.nr_frames:
            raise ValueError(f"frames {pfn:#x}-{pfn + count:#x} are not in the table")
        while i < count:
            n = 1
            while i + n < count and mfn[i + n] == mfn[i] + n:
                n += 1
            if mfn[i] >= self.nr_machine_frames or n > self.nr_machine_frames - mfn[i]:
                raise ValueError(f"machine frames {mfn[i]:#x} (+{n:#x}) are not in the table")
            self.set_run(pfn + i, mfn[i], n)
            i += n

    def machine_frame(self, u64 pfn):
        """pfn_to_bfn()."""
        return self.pfn_to_mfn(pfn)

    def guest_frame(self, u64 mfn):
        """bfn_to_pfn(); all ones for a frame that is not this guest's."""
        return self.mfn_to_pfn(mfn)

    # -- tables ------------------------------------------------------------------------------------------------

    cdef u64 entry(self, u64 pfn) noexcept nogil:
        return self.machine.mem.read64(self.p2m + pfn * 8, False)

    cdef u64 owner(self, u64 mfn) noexcept nogil:
        return self.machine.mem.read64(self.m2p + mfn * 8, False) if mfn < self.nr_machine_frames else NONE

    cdef void forget(self, u64 pfn) noexcept nogil:
        cdef u64 old = self.entry(pfn)
        if old != NONE and self.owner(old) == pfn:
            self.machine.mem.write64(self.m2p + old * 8, NONE, False)

    cdef void set_run(self, u64 pfn, u64 mfn, u64 n) noexcept nogil:
        """Frames and machine frames that count up, some entries at a time."""
        cdef u64 entries[64]
        cdef u64 i, step
        while n:
            step = min(n, <u64>64)
            self.machine.mem.read(self.p2m + pfn * 8, entries, step * 8)
            for i in range(step):
                if entries[i] != NONE and self.owner(entries[i]) == pfn + i:
                    self.machine.mem.write64(self.m2p + entries[i] * 8, NONE, False)
                entries[i] = mfn + i
            self.machine.mem.write(self.p2m + pfn * 8, entries, step * 8)
            for i in range(step):
                entries[i] = pfn + i
            self.machine.mem.write(self.m2p + mfn * 8, entries, step * 8)
            pfn += step
            mfn += step
            n -= step

    cdef void write(self, u64 pfn, u64 mfn) noexcept nogil:
        self.forget(pfn)
        self.machine.mem.write64(self.p2m + pfn * 8, mfn, False)
        self.machine.mem.write64(self.m2p + mfn * 8, pfn, False)

    cdef bint is_identity(self, u64 pfn) noexcept nogil:
        """Beyond the table, or in one of its holes that are no RAM: device memory, which keeps its number."""
        return pfn >= self.nr_frames or (self.entry(pfn) == NONE and not self.machine.is_ram(pfn << XEN_PAGE_SHIFT))

    # -- what Linux asks ---------------------------------------------------------------------------------------

    cdef u64 pfn_to_mfn(self, u64 pfn) noexcept nogil:
        cdef u64 mfn
        if self.guest == XEN_HVM or self.is_identity(pfn):
            return pfn
        mfn = self.entry(pfn)
        return pfn if self.guest == XEN_ARM and mfn == NONE else mfn

    cdef u64 mfn_to_local_pfn(self, u64 mfn) noexcept nogil:
        """bfn_to_local_pfn: all ones unless the frame is in the p2m; no such test outside PV."""
        cdef u64 pfn
        if self.guest != XEN_PV:
            return mfn
        pfn = self.owner(mfn)
        return pfn if pfn < self.nr_frames and self.entry(pfn) == mfn else NONE

    cdef u64 mfn_to_pfn(self, u64 mfn) noexcept nogil:
        cdef u64 pfn = self.mfn_to_local_pfn(mfn)
        return mfn if pfn == NONE and self.is_identity(mfn) else pfn

    cdef u64 exchange(self, unsigned int order, unsigned int address_bits) except? 0xBADBADBADBADBAD nogil:
        """XENMEM_exchange: the first of 2^order contiguous, naturally aligned machine frames; NONE: none left."""
        cdef u64 n = <u64>1 << order
        cdef u64 limit = ~<u64>0 if address_bits >= 64 else <u64>1 << address_bits
        cdef u64 mfn
        if self.machine.should_fail(b"exchange"):
            return NONE
        if self.free_top >= n + self.gap:
            mfn = (self.free_top - n - self.gap) & ~(n - 1)
            if (mfn + n) << XEN_PAGE_SHIFT <= limit:
                self.free_top = mfn
                return mfn
        with gil:
            for mfn in self.extents.get(order, ()):         # what was given back
                if (mfn + n) << XEN_PAGE_SHIFT <= limit:
                    self.extents[order].remove(mfn)
                    return mfn
        return NONE

    cdef bint create_contiguous_region(self, phys_addr_t start, unsigned int order, unsigned int address_bits,
                                       dma_addr_t *handle) except -1 nogil:
        """Put contiguous machine memory below 2^address_bits under 2^order frames, whose content is lost."""
        cdef u64 pfn = start >> XEN_PAGE_SHIFT, n = <u64>1 << order
        cdef u64 mfn = self.exchange(order, address_bits)
        cdef u64 i
        self.machine.zero(start, n << XEN_PAGE_SHIFT)
        if mfn != NONE:
            with gil:
                self.singles.extend([self.pfn_to_mfn(pfn + i) for i in range(n)])
            for i in range(n):
                self.write(pfn + i, mfn + i)
        handle[0] = self.pfn_to_mfn(pfn) << XEN_PAGE_SHIFT
        return mfn != NONE

    cdef int destroy_contiguous_region(self, phys_addr_t start, unsigned int order) except -9999 nogil:
        """Give an extent back for single frames, which others have given back before."""
        cdef u64 pfn = start >> XEN_PAGE_SHIFT
        cdef u64 i
        self.machine.zero(start, <u64>XEN_PAGE_SIZE << order)
        with gil:
            self.extents.setdefault(order, []).append(self.pfn_to_mfn(pfn))
            for i in range(<u64>1 << order):
                self.write(pfn + i, self.singles.pop())
        return 0

    # -- what the machine does ---------------------------------------------------------------------------------

    cdef u64 guest_address(self, u64 machine_address) noexcept nogil:
        """Where this guest's memory holds a machine address: the hypervisor's m2p entry; NONE for another's."""
        cdef u64 pfn
        if self.guest != XEN_HVM:
            pfn = self.owner(machine_address >> XEN_PAGE_SHIFT)
            if pfn != NONE:
                return pfn << XEN_PAGE_SHIFT | machine_address & (XEN_PAGE_SIZE - 1)
            if self.guest == XEN_PV and self.machine.find_pgmap(machine_address) == NULL:
                return NONE
        if self.machine.is_ram(machine_address) or self.machine.find_pgmap(machine_address) != NULL:
            return machine_address
        return NONE
