# SPDX-License-Identifier: MIT
"""A Xen guest's grant table and its allocator (drivers/xen/grant-table.c, Linux 6.1).

Free references are in a linked list that is used from its head, so the last one freed is the first one taken. A run of
consecutive references is cut from the tail of the list as long as that is known to be a run up to the highest one;
else the list is sorted anew and the lowest run that is long enough is taken, and the table grows when there is none.
Where a link leads out of the list, Linux reads or writes a wild address: KernelBug.
"""

from libc.errno cimport ENOMEM, ENOSPC
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memset

from dma_ops.errors cimport kernel_bug

from .p2m cimport XEN_PAGE_SIZE

cdef enum:
    RESERVED_ENTRIES = 8                        # console, xenstore and others of the toolstack
    HEAD = -1                                   # tail: the list's head itself
    NO_TAIL = -2

cdef u32 LIST_END = 0xffffffff


cdef class GrantTable:
    """max_frames: how far the hypervisor lets the table grow; 4 where it does not say. p2m: of a PV guest."""

    def __init__(self, Machine machine not None, *, int version=1, u32 max_frames=4, P2m p2m=None):
        if version not in (1, 2) or not 1 <= max_frames <= 4096 or self.list != NULL:
            raise ValueError(f"no grant table of version {version} with {max_frames} frames")
        self.machine = machine
        self.p2m = p2m if p2m is not None else P2m(machine, "hvm")
        self.version = version
        self.per_frame = XEN_PAGE_SIZE // (ENTRY_V1 if version == 1 else ENTRY_V2)
        self.max_frames = max_frames
        self.nr_frames = 1
        self.size = self.per_frame
        self.shared = machine.alloc_table(<u64>max_frames * XEN_PAGE_SIZE, XEN_PAGE_SIZE)
        if version == 2:
            self.status = machine.alloc_table(<u64>max_frames * self.per_frame * STATUS_ENTRY, XEN_PAGE_SIZE)
        self.list = <u32 *>calloc(max_frames, self.per_frame * sizeof(u32))
        self.is_free = <u8 *>calloc(max_frames, self.per_frame)
        if self.list == NULL or self.is_free == NULL:
            raise MemoryError("no memory for the free list")
        self.free_head = self.last_free = LIST_END
        self.tail = NO_TAIL
        self.set_free(RESERVED_ENTRIES, self.size - RESERVED_ENTRIES)

    def __dealloc__(self):
        free(self.list)
        free(self.is_free)

    def table(self):
        """{reference: (flags, domain, frame, status)} of every entry with flags; status 0 in version 1."""
        cdef u64 at
        out = {}
        for ref in range(self.size):
            at = self.shared + ref * (ENTRY_V1 if self.version == 1 else ENTRY_V2)
            flags = self.read16(at)
            if flags:
                frame = (self.machine.mem.read32(at + FRAME_V1, False) if self.version == 1
                         else self.machine.mem.read64(at + FRAME_V2, False))
                out[ref] = (flags, self.read16(at + 2), frame,
                            self.read16(self.status + ref * STATUS_ENTRY) if self.version == 2 else 0)
        return out

    def free_list(self):
        """The free references in the order of the list."""
        out = []
        ref = self.free_head
        while ref != LIST_END and ref < self.size and len(out) <= self.size:
            out.append(ref)
            ref = self.list[ref]
        return out

    @property
    def used(self):
        """References that are given out, the reserved ones not counted."""
        return self.size - RESERVED_ENTRIES - self.free_count

    def map_by_backend(self, u32 ref, bint write=False, bint mapped=True):
        """What the hypervisor notes when the other domain maps a reference, or unmaps it."""
        cdef u16 bits = GTF_READING | (GTF_WRITING if write else 0)
        cdef u64 at
        if ref >= self.size:
            raise ValueError(f"there is no reference {ref}")
        at = self.status + ref * STATUS_ENTRY if self.version == 2 else self.shared + ref * ENTRY_V1
        old = self.read16(at)
        now = old | bits if mapped else old & ~(GTF_READING | GTF_WRITING)
        self.machine.mem.poke(at, int(now).to_bytes(2, "little"))

    cdef u16 read16(self, phys_addr_t addr) noexcept nogil:
        cdef u16 value = 0
        self.machine.mem.read(addr, &value, 2)
        return value

    # -- the free list -----------------------------------------------------------------------------------------

    cdef u32 *link(self, u64 ref) except NULL nogil:
        """gnttab_entry()."""
        if ref >= <u64>self.max_frames * self.per_frame:
            kernel_bug(b"BUG: unable to handle page fault: gnttab_entry beyond the list")
        return &self.list[ref]

    cdef u32 *tail_link(self) except NULL nogil:
        if self.tail == NO_TAIL:
            kernel_bug(b"BUG: kernel NULL pointer dereference: gnttab_free_tail_ptr")
        return &self.free_head if self.tail == HEAD else self.link(self.tail)

    cdef int set_free(self, u32 start, u32 n) except -9999 nogil:
        """Append n new references to the list."""
        cdef u32 i
        for i in range(start, start + n - 1):
            self.list[i] = i + 1
        self.list[start + n - 1] = LIST_END
        if self.free_count == 0:
            self.free_head = start
            self.tail = HEAD
        else:
            self.link(self.last_free)[0] = start
        self.free_count += n
        self.last_free = start + n - 1
        memset(&self.is_free[start], 1, n)
        return 0

    cdef int expand(self, u32 entries) except -9999 nogil:
        """Grow by the frames that so many entries need: 0, -ENOSPC at the hypervisor's limit, or -ENOMEM."""
        cdef u32 extra = (<u64>entries + self.per_frame - 1) // self.per_frame
        if <u64>self.nr_frames + extra > self.max_frames:
            self.machine.warn(b"xen/grant-table: max_grant_frames reached")
            return -ENOSPC
        if self.machine.should_fail(b"table"):
            return -ENOMEM
        self.set_free(self.size, extra * self.per_frame)
        if self.tail == NO_TAIL:
            self.tail = self.size               # the link of the first new one: a tail that begins with the second
        self.nr_frames += extra
        self.size += extra * self.per_frame
        return 0

    cdef s64 get_one(self) except -9999 nogil:
        cdef u32 ref
        cdef int ret
        if self.free_count < 1:
            ret = self.expand(1)
            if ret < 0:
                return ret
        ref = self.free_head
        self.free_count -= 1
        self.free_head = self.link(ref)[0]
        self.is_free[ref] = 0
        if self.tail == ref:
            self.tail = HEAD
        self.list[ref] = LIST_END
        if self.free_count == 0:
            self.last_free = LIST_END
            self.tail = NO_TAIL
        return ref

    cdef u32 tail_run(self) except? 0xBAD00BAD nogil:
        """get_seq_entry_count: how long the run at the list's tail is, unsigned as it is compared."""
        if self.last_free == LIST_END or self.tail == NO_TAIL or self.tail_link()[0] == LIST_END:
            return 0
        return self.last_free - self.tail_link()[0] + 1

    cdef s64 rebuild(self, u32 count) except -9999 nogil:
        """get_free_seq: take the lowest run of count, or -ENOSPC, and sort the list of what is left."""
        cdef u8 *hit
        cdef u32 *last = &self.free_head
        cdef u32 at = 0, end
        cdef s64 found = -ENOSPC
        self.tail = HEAD
        while at < self.size:
            hit = <u8 *>memchr(&self.is_free[at], 1, self.size - at)
            if hit == NULL:
                break
            at = hit - self.is_free
            hit = <u8 *>memchr(hit, 0, self.size - at)
            end = hit - self.is_free if hit != NULL else self.size
            if found < 0 and end - at >= count:
                found = at
                memset(&self.is_free[at], 0, count)
                self.free_count -= count
                at += count
                if at == end:
                    continue
            while at < end:
                last[0] = at
                last = &self.list[at]
                self.last_free = at
                at += 1
            if end < self.size:
                self.tail = end - 1
        last[0] = LIST_END
        if self.last_free != self.size - 1:
            self.tail = NO_TAIL
        return found

    cdef s64 get_sequence(self, u32 count) except -9999 nogil:
        """count consecutive references. With count 0 Linux still cuts the list: at its head, that loses all of it."""
        cdef s64 ref
        cdef int ret
        if self.free_count < count:
            ret = self.expand(count - <u32>self.free_count)
            if ret < 0:
                return ret
        if self.tail_run() < count:
            ref = self.rebuild(count)
            if ref >= 0:
                return ref
            ret = self.expand(count - self.tail_run())
            if ret < 0:
                return ret
        ref = self.tail_link()[0]
        self.tail_link()[0] = self.link(ref + count - 1)[0]
        self.free_count -= count
        if self.free_count == 0:
            self.tail = NO_TAIL
        memset(&self.is_free[ref], 0, count)
        return ref

    cdef s64 alloc(self, u32 count) except -9999 nogil:
        """gnttab_alloc_grant_reference_seq: the first of count consecutive references, or -ENOSPC."""
        cdef s64 ref
        if self.machine.should_fail(b"entries"):
            return -ENOSPC
        ref = self.get_one() if count == 1 else self.get_sequence(count)
        return ref if ref >= 0 else -ENOSPC

    cdef int put(self, u32 first, u32 count) except -9999 nogil:
        """gnttab_free_grant_reference_seq: the first of them becomes the list's head."""
        cdef u32 ref
        cdef u32 i
        for i in range(count, 0, -1):
            ref = first + i - 1
            if ref < RESERVED_ENTRIES:
                continue
            self.link(ref)[0] = self.free_head
            self.free_head = ref
            if self.free_count == 0:
                self.last_free = ref
            if self.tail == HEAD:
                self.tail = ref
            self.free_count += 1
            self.is_free[ref] = 1
        return 0

    # -- entries -----------------------------------------------------------------------------------------------

    cdef int grant(self, u32 ref, u16 domid, u64 frame, bint readonly) except -9999 nogil:
        """Frame and domain first, flags last: from then on the hypervisor lets the domain in."""
        cdef u32 header = GTF_PERMIT_ACCESS | (GTF_READONLY if readonly else 0) | <u32>domid << 16
        cdef u64 at = self.shared + <u64>ref * (ENTRY_V1 if self.version == 1 else ENTRY_V2)
        if ref >= self.size:
            return kernel_bug(b"BUG: unable to handle page fault: gnttab_update_entry beyond the mapped frames")
        if self.version == 1:
            self.machine.mem.write32(at + FRAME_V1, <u32>frame, False)
        else:
            self.machine.mem.write64(at + FRAME_V2, frame, False)
        self.machine.mem.write32(at, header, False)
        return 0

    cdef bint end_access(self, u32 ref) except -1 nogil:
        """gnttab_end_foreign_access_ref: False while the other domain has it mapped. Version 1 then leaves the entry as
        it is, version 2 has cleared its flags."""
        cdef u16 nothing = 0
        cdef u64 at
        if ref >= self.size:
            kernel_bug(b"BUG: unable to handle page fault: gnttab_end_foreign_access_ref beyond the mapped frames")
        if self.version == 1:
            at = self.shared + <u64>ref * ENTRY_V1
            if self.read16(at) & (GTF_READING | GTF_WRITING):
                return False
            self.machine.mem.write(at, &nothing, 2)
            return True
        self.machine.mem.write(self.shared + <u64>ref * ENTRY_V2, &nothing, 2)
        return not self.read16(self.status + <u64>ref * STATUS_ENTRY) & (GTF_READING | GTF_WRITING)
