# SPDX-License-Identifier: MIT
"""The IOVA allocator of drivers/iommu/iova.c (Linux 6.1; the depot of 6.7 and later as a switch).

Ranges live in a tree that is searched top-down from a cached node: allocation goes downwards and does not come back to
a hole above that node before the space below is exhausted. Freed ranges of up to 32 granules stay in the tree, and go
round through magazines of 127 per CPU and order, newest first.

Every result follows from the order of the ranges, so that the tree's shape and the list threaded through it are this
file's own. So is the way to a hole: Linux looks at each range from the cached node down, here every range knows the
largest request that fits below it, and the tree the largest of each subtree: the same hole, in O(log n).
"""

from libc.errno cimport ENOMEM
from libc.stdlib cimport calloc, free, malloc, realloc
from posix.stdlib cimport posix_memalign

from scatterlist.types cimport u16

from .errors cimport kernel_bug
from .rbtree cimport rb_erase, rb_insert, rb_offer

from .errors import DmaError

cdef extern from *:
    int clzl "__builtin_clzl"(unsigned long) noexcept nogil
    int ctzl "__builtin_ctzl"(unsigned long) noexcept nogil

cdef enum:
    SLAB_NODES = 63             # and one line for the slab's own link: 4 KiB
    MAX_CACHED = 1 << (IOVA_RANGE_CACHE_MAX_SIZE - 1)
    LARGE = 1 << 15             # sizes from here on are rounded to a power of two in 16 bits

cdef u64 IOVA_ANCHOR = ~<u64>0


cdef inline unsigned int fls(u64 x) noexcept nogil:
    """1 + the number of the highest bit set; 0 for 0."""
    return 64 - clzl(x) if x else 0


cdef inline u16 size_class(u64 size) noexcept nogil:
    """16 bits that compare as sizes do; large ones may be equal that are not."""
    return size if size < LARGE else LARGE + fls(size)


cdef inline u16 room(u64 below, u64 above) noexcept nogil:
    """The class of the largest size-aligned request that fits between two used granules.

    As an alignment is the size rounded up to a power of two, smaller ones fit, too. Of all numbers from below + 1 to
    above the most even one parts the hole: behind it fits all that there is space for, before it a power of two.
    """
    cdef u64 middle, before, behind
    cdef unsigned int even
    if below + 1 >= above:
        return 0
    even = fls(below ^ above) - 1
    middle = above >> even << even
    behind = above - middle
    before = middle - below - 1
    if before > behind and <u64>1 << (fls(before) - 1) > behind:
        return size_class(<u64>1 << (fls(before) - 1))
    return size_class(behind)


cdef inline void set_room(iova_domain *iovad, iova *n) noexcept nogil:
    """The anchor and the lowest offer none: the limit cuts the room below the one, start_pfn that below the other."""
    rb_offer(&n.node, room(n.prev.pfn_hi, n.pfn_lo) if n.prev != NULL and n != &iovad.anchor else 0)


# -- nodes -----------------------------------------------------------------------------------------------------

cdef iova *alloc_iova_mem(iova_domain *iovad) noexcept nogil:
    cdef iova *slab = NULL
    cdef iova *n
    cdef int i
    if iovad.free_nodes == NULL:
        if posix_memalign(<void **>&slab, 64, (SLAB_NODES + 1) * sizeof(iova)):
            return NULL
        slab.next = <iova *>iovad.slabs
        iovad.slabs = slab
        for i in range(SLAB_NODES, 0, -1):
            slab[i].next = iovad.free_nodes
            iovad.free_nodes = &slab[i]
    n = iovad.free_nodes
    iovad.free_nodes = n.next
    return n


cdef inline void free_iova_mem(iova_domain *iovad, iova *n) noexcept nogil:
    n.next = iovad.free_nodes
    iovad.free_nodes = n


cdef inline void link_before(iova_domain *iovad, iova *n, iova *following) noexcept nogil:
    """Put n directly below following, in the list and in the tree."""
    n.next = following
    n.prev = following.prev
    if n.prev != NULL:
        n.prev.next = n
    else:
        iovad.lowest = n
    following.prev = n
    if following.node.child[0] == NULL:
        rb_insert(&iovad.root, &following.node, 0, &n.node)
    else:
        rb_insert(&iovad.root, &n.prev.node, 1, &n.node)
    set_room(iovad, n)
    set_room(iovad, following)
    iovad.nodes += 1
    iovad.pages += n.pfn_hi - n.pfn_lo + 1


cdef iova *first_above(iova_domain *iovad, u64 pfn) noexcept nogil:
    """The lowest range that does not end below pfn: the anchor at the latest."""
    cdef rb_node *node = iovad.root
    cdef iova *found = &iovad.anchor
    while node != NULL:
        if (<iova *>node).pfn_hi < pfn:
            node = node.child[1]
        else:
            found = <iova *>node
            node = node.child[0]
    return found


cdef iova *first_from(iova_domain *iovad, u64 pfn) noexcept nogil:
    """The lowest range that does not begin below pfn: the anchor at the latest."""
    cdef rb_node *node = iovad.root
    cdef iova *found = &iovad.anchor
    while node != NULL:
        if (<iova *>node).pfn_lo < pfn:
            node = node.child[1]
        else:
            found = <iova *>node
            node = node.child[0]
    return found


cdef iova *find_iova(iova_domain *iovad, u64 pfn) noexcept nogil:
    """The range that pfn lies in, or NULL."""
    cdef rb_node *node = iovad.root
    while node != NULL:
        if pfn < (<iova *>node).pfn_lo:
            node = node.child[0]
        elif pfn > (<iova *>node).pfn_hi:
            node = node.child[1]
        else:
            return <iova *>node
    return NULL


cdef void remove_iova(iova_domain *iovad, iova *n) noexcept nogil:
    if n == &iovad.anchor:
        return
    if n == iovad.cached32_node or (n.pfn_hi < iovad.dma_32bit_pfn and n.pfn_lo >= iovad.cached32_node.pfn_lo):
        iovad.cached32_node = n.next
    if n.pfn_lo < iovad.dma_32bit_pfn:
        iovad.max32_alloc_size = iovad.dma_32bit_pfn
    if n.pfn_lo >= iovad.cached_node.pfn_lo:
        iovad.cached_node = n.next
    rb_erase(&iovad.root, &n.node)
    n.next.prev = n.prev
    if n.prev != NULL:
        n.prev.next = n.next
    else:
        iovad.lowest = n.next
    set_room(iovad, n.next)
    iovad.nodes -= 1
    iovad.pages -= n.pfn_hi - n.pfn_lo + 1
    free_iova_mem(iovad, n)


# -- the tree --------------------------------------------------------------------------------------------------

cdef int init_iova_domain(iova_domain *iovad, u64 granule, u64 start_pfn, u64 page_size) except -9999 nogil:
    """An empty space without magazines. granule: a power of two of bytes, at most a CPU page."""
    if granule > page_size or granule == 0 or granule & (granule - 1):
        return kernel_bug(b"kernel BUG at drivers/iommu/iova.c: granule > PAGE_SIZE || !is_power_of_2(granule)")
    iovad.granule = granule
    iovad.shift = ctzl(granule)
    iovad.start_pfn = start_pfn
    iovad.dma_32bit_pfn = <u64>1 << (32 - iovad.shift)
    iovad.max32_alloc_size = iovad.dma_32bit_pfn
    iovad.lowest = iovad.cached_node = iovad.cached32_node = &iovad.anchor
    iovad.anchor.pfn_lo = iovad.anchor.pfn_hi = IOVA_ANCHOR
    iovad.anchor.prev = iovad.anchor.next = NULL
    iovad.root = NULL
    rb_insert(&iovad.root, NULL, 0, &iovad.anchor.node)
    return 0


cdef struct request:
    u64 size
    u64 align_mask
    u16 least               # no offer below this will do; one that is not may still be too small


cdef inline bint fits(const iova *n, const request *want) noexcept nogil:
    """Whether the room below n, which is not the lowest, is enough."""
    return n.pfn_lo >= want.size and (n.pfn_lo - want.size) & want.align_mask > n.prev.pfn_hi


cdef iova *highest_fit(rb_node *node, const request *want) noexcept nogil:
    """The highest range of a subtree with room below it, or NULL."""
    cdef iova *found
    cdef rb_node *child
    cdef u16 most = node.offer
    cdef int side
    for side in range(1, -1, -1):
        child = node.child[side]
        if child != NULL:
            if child.most >= want.least:
                found = highest_fit(child, want)
                if found != NULL:
                    return found
            if child.most > most:
                most = child.most
        if side and node.offer >= want.least and fits(<iova *>node, want):
            return <iova *>node
    node.most = most
    return NULL


cdef iova *next_fit(iova_domain *iovad, iova *start, const request *want) noexcept nogil:
    """The highest range below start with room below it; the lowest of all, whatever it has, if there is none."""
    cdef rb_node *node = &start.node
    cdef rb_node *came
    cdef iova *found
    while True:
        if node.child[0] != NULL and node.child[0].most >= want.least:
            found = highest_fit(node.child[0], want)
            if found != NULL:
                return found
        came = node
        node = node.parent
        while node != NULL and node.child[0] == came:
            came = node
            node = node.parent
        if node == NULL:
            return iovad.lowest
        if node.offer >= want.least and fits(<iova *>node, want):
            return <iova *>node


cdef inline iova *above_room(iova_domain *iovad, iova *start, u64 limit_pfn, const request *want,
                             u64 *new_pfn) noexcept nogil:
    """Where Linux's walk down from start ends, and the pfn it has then; NULL if that wraps below 0."""
    cdef iova *above = start
    cdef u64 high_pfn
    if above.prev != NULL and above.prev.pfn_lo >= limit_pfn:
        above = first_from(iovad, limit_pfn)
    high_pfn = min(above.pfn_lo, limit_pfn)
    new_pfn[0] = (high_pfn - want.size) & want.align_mask
    if high_pfn >= want.size and above.prev != NULL and new_pfn[0] <= above.prev.pfn_hi:
        above = next_fit(iovad, above, want)
        high_pfn = above.pfn_lo
        new_pfn[0] = (high_pfn - want.size) & want.align_mask
    return above if high_pfn >= want.size else NULL


cdef int insert_range(iova_domain *iovad, u64 size, u64 limit_pfn, iova *new, bint size_aligned) noexcept nogil:
    """Find room below limit_pfn (exclusive) and put new there; 0 or -ENOMEM."""
    cdef request want
    cdef u64 new_pfn = 0, retry_pfn
    cdef unsigned int order = fls(size - 1) & 63
    cdef iova *above
    cdef iova *start
    want.size = size
    want.align_mask = ~<u64>0 << order if size_aligned else ~<u64>0
    # a hole of any size offers more than a third of it: its larger part, or that rounded down to a power of two
    want.least = size_class(size if size_aligned and size - 1 < <u64>1 << order else 1 + size // 3)
    if limit_pfn <= iovad.dma_32bit_pfn:
        if size >= iovad.max32_alloc_size:
            return -ENOMEM
        start = iovad.cached32_node
    else:
        start = iovad.cached_node
    above = above_room(iovad, start, limit_pfn, &want, &new_pfn)
    if above == NULL or new_pfn < iovad.start_pfn:
        retry_pfn = start.pfn_hi
        if retry_pfn < limit_pfn:       # once more, from the limit down to where the first walk began
            above = above_room(iovad, &iovad.anchor, limit_pfn, &want, &new_pfn)
        if retry_pfn >= limit_pfn or above == NULL or new_pfn <= retry_pfn:
            # whatever the limit was: a request with a low limit bars larger ones with a higher limit, too
            iovad.max32_alloc_size = size
            return -ENOMEM
    new.pfn_lo = new_pfn
    new.pfn_hi = new_pfn + size - 1
    link_before(iovad, new, above)
    if new.pfn_hi < iovad.dma_32bit_pfn:
        iovad.cached32_node = new
    else:
        iovad.cached_node = new
    return 0


cdef iova *alloc_iova(iova_domain *iovad, u64 size, u64 limit_pfn, bint size_aligned) noexcept nogil:
    """size granules below limit_pfn (inclusive), from the tree; NULL if there is no room."""
    cdef iova *new = alloc_iova_mem(iovad)
    if new == NULL:
        return NULL
    if insert_range(iovad, size, limit_pfn + 1, new, size_aligned):
        free_iova_mem(iovad, new)
        return NULL
    return new


cdef void free_iova(iova_domain *iovad, u64 pfn) noexcept nogil:
    """Give the range that pfn lies in back to the tree; nothing if there is none."""
    cdef iova *n = find_iova(iovad, pfn)
    if n != NULL:
        remove_iova(iovad, n)


cdef iova *reserve_iova(iova_domain *iovad, u64 pfn_lo, u64 pfn_hi) noexcept nogil:
    """Keep [pfn_lo, pfn_hi] from being given out, whatever of it is already in use. NULL: refused, or no memory."""
    cdef iova *n
    cdef iova *new
    cdef u64 before = iovad.pages
    if (pfn_hi | pfn_lo) > ~<u64>0 >> iovad.shift:
        iovad.warnings += 1
        return NULL
    n = first_above(iovad, pfn_lo)
    while n.pfn_lo <= pfn_hi:           # n overlaps: it grows down to pfn_lo, the rest begins behind it
        if pfn_lo < n.pfn_lo:
            iovad.pages += n.pfn_lo - pfn_lo
            n.pfn_lo = pfn_lo
            set_room(iovad, n)
        if pfn_hi <= n.pfn_hi:
            iovad.reserved += iovad.pages - before
            return n
        pfn_lo = n.pfn_hi + 1
        n = n.next
    new = alloc_iova_mem(iovad)
    if new != NULL:
        new.pfn_lo = pfn_lo
        new.pfn_hi = pfn_hi
        link_before(iovad, new, n)
    iovad.reserved += iovad.pages - before
    return new


# -- magazines -------------------------------------------------------------------------------------------------

cdef inline iova_magazine *iova_magazine_alloc() noexcept nogil:
    cdef iova_magazine *mag = <iova_magazine *>malloc(sizeof(iova_magazine))
    if mag != NULL:
        mag.size = 0
    return mag


cdef void iova_magazine_free_pfns(iova_magazine *mag, iova_domain *iovad) noexcept nogil:
    cdef iova *n
    cdef u64 i
    for i in range(mag.size):
        n = find_iova(iovad, mag.pfns[i])
        if n == NULL:
            iovad.warnings += 1         # freed twice, or never allocated
        else:
            remove_iova(iovad, n)
    mag.size = 0


cdef u64 iova_magazine_pop(iova_magazine *mag, u64 limit_pfn) noexcept nogil:
    """The newest pfn up to limit_pfn, whose place the newest of all takes; 0 if there is none. Not for an empty one."""
    cdef u64 i = mag.size - 1
    cdef u64 pfn
    while mag.pfns[i] > limit_pfn:
        if i == 0:
            return 0
        i -= 1
    pfn = mag.pfns[i]
    mag.size -= 1
    mag.pfns[i] = mag.pfns[mag.size]
    return pfn


cdef int iova_domain_init_rcaches(iova_domain *iovad, int nr_cpus, int kernel) noexcept nogil:
    """Magazines for nr_cpus CPUs; 0 or -ENOMEM."""
    cdef iova_rcache *rcache
    cdef int order, cpu
    iovad.big_depot = kernel >= 607
    iovad.nr_cpus = nr_cpus
    for order in range(IOVA_RANGE_CACHE_MAX_SIZE):
        rcache = &iovad.rcaches[order]
        rcache.cpu = <iova_cpu_rcache *>calloc(nr_cpus, sizeof(iova_cpu_rcache))
        if rcache.cpu == NULL:
            return -ENOMEM
        for cpu in range(nr_cpus):
            rcache.cpu[cpu].loaded = iova_magazine_alloc()
            rcache.cpu[cpu].prev = iova_magazine_alloc()
            if rcache.cpu[cpu].loaded == NULL or rcache.cpu[cpu].prev == NULL:
                return -ENOMEM
    return 0


cdef bint depot_push(iova_domain *iovad, iova_rcache *rcache, iova_magazine *mag) noexcept nogil:
    cdef iova_magazine **grown
    if not iovad.big_depot and rcache.depot_size == MAX_GLOBAL_MAGS:
        return False
    if rcache.depot_size == rcache.depot_room:
        grown = <iova_magazine **>realloc(rcache.depot, (rcache.depot_room + MAX_GLOBAL_MAGS) * sizeof(void *))
        if grown == NULL:
            return False
        rcache.depot = grown
        rcache.depot_room += MAX_GLOBAL_MAGS
    rcache.depot[rcache.depot_size] = mag
    rcache.depot_size += 1
    if iovad.big_depot and rcache.trim_at == 0:
        rcache.trim_at = iovad.now + IOVA_DEPOT_DELAY
    return True


cdef bint make_room(iova_domain *iovad, iova_rcache *rcache, iova_cpu_rcache *c) noexcept nogil:
    """Load a magazine that is not full, in place of one that is; False without memory."""
    cdef iova_magazine *full = c.loaded
    cdef iova_magazine *new
    if c.prev.size != IOVA_MAG_SIZE:
        c.loaded, c.prev = c.prev, c.loaded
        return True
    new = iova_magazine_alloc()
    if new == NULL:
        return False
    c.loaded = new
    if not depot_push(iovad, rcache, full):
        iova_magazine_free_pfns(full, iovad)
        free(full)
    return True


cdef bint load_another(iova_rcache *rcache, iova_cpu_rcache *c) noexcept nogil:
    """Load a magazine that is not empty, in place of one that is."""
    if c.prev.size:
        c.loaded, c.prev = c.prev, c.loaded
        return True
    if rcache.depot_size == 0:
        return False
    free(c.loaded)
    rcache.depot_size -= 1
    c.loaded = rcache.depot[rcache.depot_size]
    return True


cdef void iova_flush_rcaches(iova_domain *iovad) noexcept nogil:
    """Empty every magazine into the tree: what a failed allocation does before its second try."""
    cdef iova_rcache *rcache
    cdef iova_magazine *mag
    cdef u64 i, n
    cdef int order, cpu
    for cpu in range(iovad.nr_cpus):
        for order in range(IOVA_RANGE_CACHE_MAX_SIZE):
            iova_magazine_free_pfns(iovad.rcaches[order].cpu[cpu].loaded, iovad)
            iova_magazine_free_pfns(iovad.rcaches[order].cpu[cpu].prev, iovad)
    for order in range(IOVA_RANGE_CACHE_MAX_SIZE):
        rcache = &iovad.rcaches[order]
        n = rcache.depot_size
        rcache.depot_size = 0
        for i in range(n):
            mag = rcache.depot[n - 1 - i if iovad.big_depot else i]
            iova_magazine_free_pfns(mag, iovad)
            free(mag)


cdef void iova_tick(iova_domain *iovad, u64 ms) noexcept nogil:
    """Let time pass. 6.7 and later: each 100 ms a depot with more magazines than CPUs gives one back to the tree."""
    cdef iova_rcache *rcache
    cdef iova_magazine *mag
    cdef int order
    iovad.now += ms
    for order in range(IOVA_RANGE_CACHE_MAX_SIZE):
        rcache = &iovad.rcaches[order]
        while rcache.trim_at and rcache.trim_at <= iovad.now:
            if rcache.depot_size <= <u64>iovad.nr_cpus:
                rcache.trim_at = 0
                break
            rcache.depot_size -= 1
            mag = rcache.depot[rcache.depot_size]
            iova_magazine_free_pfns(mag, iovad)
            free(mag)
            rcache.trim_at += IOVA_DEPOT_DELAY


cdef void put_iova_domain(iova_domain *iovad) noexcept nogil:
    """Give all memory back; the space must be initialised again before it is used."""
    cdef iova_rcache *rcache
    cdef iova *slab
    cdef u64 i
    cdef int order, cpu
    for order in range(IOVA_RANGE_CACHE_MAX_SIZE):
        rcache = &iovad.rcaches[order]
        if rcache.cpu != NULL:
            for cpu in range(iovad.nr_cpus):
                free(rcache.cpu[cpu].loaded)
                free(rcache.cpu[cpu].prev)
            free(rcache.cpu)
            rcache.cpu = NULL
        for i in range(rcache.depot_size):
            free(rcache.depot[i])
        free(rcache.depot)
        rcache.depot = NULL
        rcache.depot_size = rcache.depot_room = 0
    iovad.nr_cpus = 0
    while iovad.slabs != NULL:
        slab = <iova *>iovad.slabs
        iovad.slabs = slab.next
        free(slab)
    iovad.free_nodes = NULL
    iovad.start_pfn = 0


# -- both ------------------------------------------------------------------------------------------------------

cdef inline unsigned int cached_order(u64 size) noexcept nogil:
    """The magazines for a size of 1 to 32: its binary logarithm, rounded up."""
    return 63 - clzl(2 * size - 1)


cdef u64 alloc_iova_slow(iova_domain *iovad, u64 size, u64 limit_pfn, bint flush_rcache, int cpu) noexcept nogil:
    """alloc_iova_fast() where the loaded magazine does not end in a pfn that will do."""
    cdef iova_rcache *rcache
    cdef iova_cpu_rcache *c
    cdef unsigned int order
    cdef u64 pfn
    cdef iova *new
    if size == 0:
        size = 1
    if size <= MAX_CACHED:
        order = cached_order(size)
        size = <u64>1 << order
        rcache = &iovad.rcaches[order]
        c = &rcache.cpu[cpu]
        if c.loaded.size or load_another(rcache, c):
            # wraps if the limit is smaller than the size: then any cached range will do (iova_rcache_get, 6.1 and 6.12)
            pfn = iova_magazine_pop(c.loaded, limit_pfn + 1 - size)
            if pfn:
                return pfn
    new = alloc_iova(iovad, size, limit_pfn, True)
    if new == NULL and flush_rcache:
        iova_flush_rcaches(iovad)
        new = alloc_iova(iovad, size, limit_pfn, True)
    return new.pfn_lo if new != NULL else 0


cdef void free_iova_slow(iova_domain *iovad, u64 pfn, u64 size, int cpu) noexcept nogil:
    """free_iova_fast() where the loaded magazine is full."""
    cdef iova_rcache *rcache
    cdef iova_cpu_rcache *c
    if size <= MAX_CACHED:
        rcache = &iovad.rcaches[cached_order(size) if size else 0]
        c = &rcache.cpu[cpu]
        if c.loaded.size < IOVA_MAG_SIZE or make_room(iovad, rcache, c):
            c.loaded.pfns[c.loaded.size] = pfn
            c.loaded.size += 1
            return
    free_iova(iovad, pfn)


cdef u64 alloc_iova_fast(iova_domain *iovad, u64 size, u64 limit_pfn, bint flush_rcache, int cpu) noexcept nogil:
    """size granules up to limit_pfn (inclusive): the first pfn, or 0.

    A size below 32 is rounded up to a power of two, 0 to 1: the kernel's shift by 64 is one by 0 on x86 and arm64.
    Of the magazines only the loaded one is searched: another one takes its place only when it is empty.
    """
    cdef iova_magazine *mag
    cdef u64 top
    cdef unsigned int order
    if size - 1 < MAX_CACHED:
        order = cached_order(size)
        mag = iovad.rcaches[order].cpu[cpu].loaded
        top = mag.size - 1
        if mag.size and mag.pfns[top] <= limit_pfn + 1 - (<u64>1 << order):
            mag.size = top
            return mag.pfns[top]
    return alloc_iova_slow(iovad, size, limit_pfn, flush_rcache, cpu)


cdef void free_iova_fast(iova_domain *iovad, u64 pfn, u64 size, int cpu) noexcept nogil:
    """size as it was asked for: its order is that of what was given."""
    cdef iova_magazine *mag
    if size - 1 < MAX_CACHED:
        mag = iovad.rcaches[cached_order(size)].cpu[cpu].loaded
        if mag.size < IOVA_MAG_SIZE:
            mag.pfns[mag.size] = pfn
            mag.size += 1
            return
    free_iova_slow(iovad, pfn, size, cpu)


cdef u64 iova_live_pages(const iova_domain *iovad) noexcept nogil:
    """Granules that are given out: in the tree, but neither reserved nor in a magazine."""
    cdef const iova_rcache *rcache
    cdef u64 cached = 0, n
    cdef int order, cpu
    for order in range(IOVA_RANGE_CACHE_MAX_SIZE):
        rcache = &iovad.rcaches[order]
        n = rcache.depot_size * IOVA_MAG_SIZE
        for cpu in range(iovad.nr_cpus):
            n += rcache.cpu[cpu].loaded.size + rcache.cpu[cpu].prev.size
        cached += n << order
    return iovad.pages - iovad.reserved - cached


cdef int check_cpu(const iova_domain *iovad, int cpu) except -1:
    if not 0 <= cpu < iovad.nr_cpus:
        raise ValueError(f"CPU {cpu} of {iovad.nr_cpus}")
    return 0


cdef class IovaDomain:
    """A space of I/O virtual addresses. granule and page_size in bytes, everything else in granules.

    kernel: 100 * major + minor; from 607 on the depot has no limit and is trimmed by time. Raises KernelBug for a
    granule that is no power of two or larger than a CPU page.
    """

    def __cinit__(self, u64 granule=4096, u64 start_pfn=1, *, int nr_cpus=1, int kernel=601, u64 page_size=4096):
        if page_size > 1 << 16:
            raise ValueError(f"page_size is {page_size}, not up to 64 KiB")
        if nr_cpus < 1:
            raise ValueError(f"nr_cpus is {nr_cpus}, not 1 or more")
        init_iova_domain(&self.d, granule, start_pfn, page_size)
        if iova_domain_init_rcaches(&self.d, nr_cpus, kernel):
            raise MemoryError("no memory for the magazines")

    def __dealloc__(self):
        put_iova_domain(&self.d)

    def __repr__(self):
        return f"<IovaDomain of {self.d.granule}-byte granules: {self.d.nodes} ranges>"

    def alloc(self, u64 size, u64 limit_pfn, bint flush_rcache=True, *, int cpu=0):
        """alloc_iova_fast(): the first pfn. Raises DmaError(ENOMEM); a retry can help."""
        check_cpu(&self.d, cpu)
        cdef u64 pfn = alloc_iova_fast(&self.d, size, limit_pfn, flush_rcache, cpu)
        if not pfn:
            raise DmaError(ENOMEM, f"no {size} granules up to {limit_pfn:#x}")
        return pfn

    def free(self, u64 pfn, u64 size, *, int cpu=0):
        """free_iova_fast(); size as it was asked for."""
        check_cpu(&self.d, cpu)
        free_iova_fast(&self.d, pfn, size, cpu)

    def alloc_tree(self, u64 size, u64 limit_pfn, bint size_aligned=True):
        """alloc_iova(): past the magazines. Raises DmaError(ENOMEM)."""
        cdef iova *new = alloc_iova(&self.d, size, limit_pfn, size_aligned)
        if new == NULL:
            raise DmaError(ENOMEM, f"no {size} granules up to {limit_pfn:#x}")
        return new.pfn_lo

    def free_tree(self, u64 pfn):
        """free_iova(): the range that pfn lies in, or nothing."""
        free_iova(&self.d, pfn)

    def find(self, u64 pfn):
        """find_iova(): (first, last) pfn of the range that pfn lies in, or None."""
        cdef iova *n = find_iova(&self.d, pfn)
        return None if n == NULL else (n.pfn_lo, n.pfn_hi)

    def reserve(self, u64 pfn_lo, u64 pfn_hi):
        """reserve_iova(): both ends inclusive. Raises ValueError where Linux WARNs about nonsensical pfns."""
        if pfn_lo > pfn_hi or reserve_iova(&self.d, pfn_lo, pfn_hi) == NULL:
            raise ValueError(f"cannot reserve {pfn_lo:#x} to {pfn_hi:#x}")

    def flush(self):
        """Empty every magazine into the tree."""
        iova_flush_rcaches(&self.d)

    def tick(self, u64 ms):
        """Let time pass (the depot's trimming of 6.7 and later)."""
        iova_tick(&self.d, ms)

    def ranges(self):
        """(first, last) of every range in the tree, cached ones too, from the top down."""
        cdef iova *n = self.d.anchor.prev
        out = []
        while n != NULL:
            out.append((n.pfn_lo, n.pfn_hi))
            n = n.prev
        return out

    @property
    def live_pages(self):
        """Granules that are given out, not counting reserved and cached ones."""
        return iova_live_pages(&self.d)

    def state(self, int cpu=0):
        """The counters of the vectors' `iova state`: cached nodes by pfn_lo (2^64-1: the anchor), magazines of one CPU
        as loaded/prev/depot."""
        check_cpu(&self.d, cpu)
        cdef iova *n = self.d.anchor.prev
        cdef iova_rcache *rcache
        lowest = IOVA_ANCHOR
        while n != NULL:
            lowest = n.pfn_lo
            n = n.prev
        out = {"nodes": self.d.nodes, "pages": self.d.pages, "lowest": lowest, "max32": self.d.max32_alloc_size,
               "cached": self.d.cached_node.pfn_lo, "cached32": self.d.cached32_node.pfn_lo}
        for order in range(IOVA_RANGE_CACHE_MAX_SIZE):
            rcache = &self.d.rcaches[order]
            out[f"rc{order}"] = f"{rcache.cpu[cpu].loaded.size}/{rcache.cpu[cpu].prev.size}/{rcache.depot_size}"
        return out

    @property
    def warnings(self):
        """How many WARN_ONs fired: a pfn freed twice or never allocated, a nonsensical reservation."""
        return self.d.warnings
