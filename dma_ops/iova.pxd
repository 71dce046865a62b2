# SPDX-License-Identifier: MIT
"""The IOVA allocator of drivers/iommu/iova.c (Linux 6.1; the depot of 6.7 and later as a switch).

Page numbers (pfn) are in granules. C callers name the CPU whose magazines are used; nothing here takes a lock.
"""

from scatterlist.types cimport u64

from .rbtree cimport rb_node

cdef enum:
    IOVA_RANGE_CACHE_MAX_SIZE = 6       # orders 0 to 5 are cached
    IOVA_MAG_SIZE = 127
    MAX_GLOBAL_MAGS = 32                # before 6.7
    IOVA_DEPOT_DELAY = 100              # ms, 6.7 and later

cdef struct iova:                       # one cache line
    rb_node node                        # first: a tree node is an iova; its offer is the room below it
    iova *prev                          # neighbours in address order
    iova *next
    u64 pfn_lo
    u64 pfn_hi                          # inclusive

cdef struct iova_magazine:
    u64 size
    u64 pfns[IOVA_MAG_SIZE]

cdef struct iova_cpu_rcache:
    iova_magazine *loaded
    iova_magazine *prev

cdef struct iova_rcache:                # one order
    iova_cpu_rcache *cpu
    iova_magazine **depot               # a stack of full magazines
    u64 depot_size
    u64 depot_room
    u64 trim_at                         # ms; 0: no work is scheduled (6.7 and later)

cdef struct iova_domain:
    rb_node *root
    iova anchor                         # above all space; never removed
    iova *lowest                        # the anchor, if there is nothing else
    iova *cached_node                   # where the next search starts ...
    iova *cached32_node                 # ... and where one limited to 4 GiB does
    u64 granule
    unsigned int shift
    u64 start_pfn                       # the lowest that is given out; 0: not initialised
    u64 dma_32bit_pfn
    u64 max32_alloc_size                # as large as this is known to fail below 4 GiB
    iova_rcache rcaches[IOVA_RANGE_CACHE_MAX_SIZE]
    int nr_cpus                         # 0: no magazines
    bint big_depot                      # 6.7 and later: no limit, trimmed by time
    u64 now                             # ms
    u64 nodes                           # in the tree, without the anchor
    u64 pages                           # in the tree, without the anchor
    u64 reserved                        # of these, by reserve_iova
    unsigned long warnings              # WARN_ONs that fired
    iova *free_nodes
    void *slabs

cdef int init_iova_domain(iova_domain *iovad, u64 granule, u64 start_pfn, u64 page_size) except -9999 nogil
cdef int iova_domain_init_rcaches(iova_domain *iovad, int nr_cpus, int kernel) noexcept nogil
cdef void put_iova_domain(iova_domain *iovad) noexcept nogil
cdef iova *alloc_iova(iova_domain *iovad, u64 size, u64 limit_pfn, bint size_aligned) noexcept nogil
cdef iova *find_iova(iova_domain *iovad, u64 pfn) noexcept nogil
cdef void free_iova(iova_domain *iovad, u64 pfn) noexcept nogil
cdef u64 alloc_iova_fast(iova_domain *iovad, u64 size, u64 limit_pfn, bint flush_rcache, int cpu) noexcept nogil
cdef void free_iova_fast(iova_domain *iovad, u64 pfn, u64 size, int cpu) noexcept nogil
# only for those two: what is declared here stays a function of its own, which keeps the fast ones short
cdef u64 alloc_iova_slow(iova_domain *iovad, u64 size, u64 limit_pfn, bint flush_rcache, int cpu) noexcept nogil
cdef void free_iova_slow(iova_domain *iovad, u64 pfn, u64 size, int cpu) noexcept nogil
cdef iova *reserve_iova(iova_domain *iovad, u64 pfn_lo, u64 pfn_hi) noexcept nogil
cdef void iova_flush_rcaches(iova_domain *iovad) noexcept nogil
cdef void iova_tick(iova_domain *iovad, u64 ms) noexcept nogil
cdef u64 iova_live_pages(const iova_domain *iovad) noexcept nogil

cdef class IovaDomain:
    """A struct iova_domain and its memory; d is what C code is given."""
    cdef iova_domain d
