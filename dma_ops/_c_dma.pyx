# SPDX-License-Identifier: MIT
"""The calls of linux/dma-mapping.h, pci-p2pdma.h, iova.h and iommu-helper.h: what C code gets of this package."""

from libc.stdlib cimport calloc, free

from scatterlist.core cimport scatterlist, sg_free_table, sg_table
from scatterlist.types cimport dma_addr_t, page_t, phys_addr_t, u8, u64

from ._c_api cimport (
    device,
    dma_conformance_calls,
    dma_conformance_object,
    dma_iova_state,
    iova as c_iova,
    iova_domain as c_iova_domain,
    pci_p2pdma_map_state,
)
from .c_kernel cimport (
    GFP_ZERO,
    Kernel,
    c_bug,
    c_kfree,
    c_kmalloc,
    c_smp_processor_id,
    c_warn,
    checked,
    checked_address,
    checked_bool,
    entered,
    facts,
)
from .device cimport Device
from .dma_iova cimport (
    dma_iova_destroy,
    dma_iova_free,
    dma_iova_link,
    dma_iova_sync,
    dma_iova_try_alloc,
    dma_iova_unlink,
)
from .iommu_helper cimport iommu_area_alloc
from .iova cimport (
    alloc_iova,
    alloc_iova_fast,
    find_iova,
    free_iova,
    free_iova_fast,
    init_iova_domain,
    iova,
    iova_domain,
    iova_domain_init_rcaches,
    put_iova_domain,
    reserve_iova,
)
from .machine cimport is_pci_p2pdma_page
from .mapping cimport (
    dma_addressing_limited,
    dma_alloc_attrs,
    dma_alloc_noncontiguous,
    dma_alloc_pages,
    dma_can_mmap,
    dma_free_attrs,
    dma_free_noncontiguous,
    dma_free_pages,
    dma_get_merge_boundary,
    dma_get_required_mask,
    dma_map_page_attrs,
    dma_map_resource,
    dma_map_sg_attrs,
    dma_map_sgtable,
    dma_mapping_error,
    dma_max_mapping_size,
    dma_need_sync,
    dma_opt_mapping_size,
    dma_pci_p2pdma_supported,
    dma_set_coherent_mask,
    dma_set_mask,
    dma_supported,
    dma_sync_sg_for_cpu,
    dma_sync_sg_for_device,
    dma_sync_single_for_cpu,
    dma_sync_single_for_device,
    dma_unmap_page_attrs,
    dma_unmap_resource,
    dma_unmap_sg_attrs,
)
from .p2pdma cimport pci_p2pdma_map_segment, pci_p2pdma_map_state as p2pdma_state, pci_p2pdma_state
from .phys cimport dma_map_phys, dma_need_unmap, dma_unmap_phys

if (sizeof(pci_p2pdma_map_state) != sizeof(p2pdma_state)
        or <size_t>&(<c_iova *>NULL).pfn_hi != <size_t>&(<iova *>NULL).pfn_hi):
    raise ImportError("dma_ops: a struct of c_api.toml is not the model's")


cdef int set_mask(Device dev, device *c, u64 mask, bint coherent) except -9999 nogil:
    cdef int ret
    if coherent:
        ret = dma_set_coherent_mask(dev, mask)
        c.coherent_dma_mask = dev.coherent_dma_mask
    else:
        ret = dma_set_mask(dev, mask)
        if c.dma_mask != NULL:
            c.dma_mask[0] = dev.dma_mask
    c.dma_ops_bypass = dev.dma_ops_bypass
    return ret


ctypedef dma_addr_t (*map_page_fn)(void *, page_t, u64, size_t, int, unsigned long) noexcept nogil
ctypedef int (*unmap_fn)(void *, dma_addr_t, size_t, int, unsigned long) noexcept nogil
ctypedef int (*sg_fn)(void *, scatterlist *, int, int, unsigned long) noexcept nogil
ctypedef int (*sgtable_fn)(void *, sg_table *, int, unsigned long) noexcept nogil
ctypedef dma_addr_t (*phys_fn)(void *, phys_addr_t, size_t, int, unsigned long) noexcept nogil
ctypedef int (*sync_fn)(void *, dma_addr_t, size_t, int) noexcept nogil
ctypedef int (*sync_sg_fn)(void *, scatterlist *, int, int) noexcept nogil
ctypedef int (*error_fn)(void *, dma_addr_t) noexcept nogil
ctypedef int (*alloc_fn)(void *, size_t, dma_addr_t *, u64 *, unsigned long) noexcept nogil
ctypedef int (*free_fn)(void *, size_t, u64, dma_addr_t, unsigned long) noexcept nogil
ctypedef int (*alloc_pages_fn)(void *, size_t, dma_addr_t *, page_t *, int) noexcept nogil
ctypedef int (*free_pages_fn)(void *, size_t, page_t, dma_addr_t, int) noexcept nogil
ctypedef int (*alloc_noncontiguous_fn)(void *, size_t, sg_table *, unsigned int, int, unsigned long) noexcept nogil
ctypedef int (*free_noncontiguous_fn)(void *, size_t, sg_table *, int) noexcept nogil
ctypedef int (*supported_fn)(void *, u64) noexcept nogil
ctypedef int (*set_mask_fn)(void *, device *, u64, bint) noexcept nogil
ctypedef u64 (*u64_fn)(void *) noexcept nogil
ctypedef bint (*bool_fn)(void *) noexcept nogil
ctypedef bint (*try_alloc_fn)(void *, dma_iova_state *, phys_addr_t, u64) noexcept nogil
ctypedef int (*link_fn)(void *, dma_iova_state *, phys_addr_t, u64, u64, int, unsigned long) noexcept nogil
ctypedef int (*iova_sync_fn)(void *, dma_iova_state *, u64, u64) noexcept nogil
ctypedef int (*unlink_fn)(void *, dma_iova_state *, u64, u64, int, unsigned long) noexcept nogil
ctypedef int (*iova_free_fn)(void *, dma_iova_state *) noexcept nogil
ctypedef int (*destroy_fn)(void *, dma_iova_state *, u64, int, unsigned long) noexcept nogil


cdef dma_addr_t c_dma_map_page_attrs(dma_conformance_object *object, device *dev, page_t page, size_t offset,
                                     size_t size, int dir, unsigned long attrs) noexcept nogil:
    return checked_address((<map_page_fn><void *>dma_map_page_attrs)(entered(dev), page, offset, size, dir, attrs))


cdef void c_dma_unmap_page_attrs(dma_conformance_object *object, device *dev, dma_addr_t addr, size_t size, int dir,
                                 unsigned long attrs) noexcept nogil:
    checked((<unmap_fn><void *>dma_unmap_page_attrs)(entered(dev), addr, size, dir, attrs))


cdef unsigned int c_dma_map_sg_attrs(dma_conformance_object *object, device *dev, scatterlist *sg, int nents, int dir,
                                     unsigned long attrs) noexcept nogil:
    return checked((<sg_fn><void *>dma_map_sg_attrs)(entered(dev), sg, nents, dir, attrs))


cdef void c_dma_unmap_sg_attrs(dma_conformance_object *object, device *dev, scatterlist *sg, int nents, int dir,
                               unsigned long attrs) noexcept nogil:
    checked((<sg_fn><void *>dma_unmap_sg_attrs)(entered(dev), sg, nents, dir, attrs))


cdef int c_dma_map_sgtable(dma_conformance_object *object, device *dev, sg_table *sgt, int dir,
                           unsigned long attrs) noexcept nogil:
    return checked((<sgtable_fn><void *>dma_map_sgtable)(entered(dev), sgt, dir, attrs))


cdef dma_addr_t c_dma_map_resource(dma_conformance_object *object, device *dev, phys_addr_t phys_addr, size_t size,
                                   int dir, unsigned long attrs) noexcept nogil:
    return checked_address((<phys_fn><void *>dma_map_resource)(entered(dev), phys_addr, size, dir, attrs))


cdef void c_dma_unmap_resource(dma_conformance_object *object, device *dev, dma_addr_t addr, size_t size, int dir,
                               unsigned long attrs) noexcept nogil:
    checked((<unmap_fn><void *>dma_unmap_resource)(entered(dev), addr, size, dir, attrs))


cdef void c_dma_sync_single_for_cpu(dma_conformance_object *object, device *dev, dma_addr_t addr, size_t size,
                                    int dir) noexcept nogil:
    checked((<sync_fn><void *>dma_sync_single_for_cpu)(entered(dev), addr, size, dir))


cdef void c_dma_sync_single_for_device(dma_conformance_object *object, device *dev, dma_addr_t addr, size_t size,
                                       int dir) noexcept nogil:
    checked((<sync_fn><void *>dma_sync_single_for_device)(entered(dev), addr, size, dir))


cdef void c_dma_sync_sg_for_cpu(dma_conformance_object *object, device *dev, scatterlist *sg, int nents,
                                int dir) noexcept nogil:
    checked((<sync_sg_fn><void *>dma_sync_sg_for_cpu)(entered(dev), sg, nents, dir))


cdef void c_dma_sync_sg_for_device(dma_conformance_object *object, device *dev, scatterlist *sg, int nents,
                                   int dir) noexcept nogil:
    checked((<sync_sg_fn><void *>dma_sync_sg_for_device)(entered(dev), sg, nents, dir))


cdef int c_dma_mapping_error(dma_conformance_object *object, device *dev, dma_addr_t addr) noexcept nogil:
    return checked((<error_fn><void *>dma_mapping_error)(entered(dev), addr))


ctypedef u64 (*reach_fn)(void *, u64, size_t) noexcept nogil
ctypedef u64 (*alias_fn)(void *, u64) noexcept nogil


cdef u64 reach_coherent(Kernel kernel, u64 cpu_addr, size_t size) except? 0xBADBADBADBADBAD nogil:
    with gil:
        return kernel.reach_coherent(cpu_addr, size)


cdef u64 alias_of(Kernel kernel, u64 phys) except? 0xBADBADBADBADBAD nogil:
    """The kernel address under which the model knows the buffer that reach_coherent() found."""
    with gil:
        return kernel.coherent.pop(phys, phys)


cdef void *c_dma_alloc_attrs(dma_conformance_object *object, device *dev, size_t size, dma_addr_t *dma_handle,
                             unsigned int gfp, unsigned long attrs) noexcept nogil:
    """A pointer of the linear map, also where the model remaps: NULL if the buffer is not in one piece there."""
    cdef u64 cpu_addr = 0, phys
    if checked((<alloc_fn><void *>dma_alloc_attrs)(entered(dev), size, dma_handle, &cpu_addr, attrs)):
        return NULL
    phys = checked_address((<reach_fn><void *>reach_coherent)(facts(object).kernel, cpu_addr, size))
    if phys == 0:
        checked((<free_fn><void *>dma_free_attrs)(entered(dev), size, cpu_addr, dma_handle[0], attrs))
        c_warn(object, b"dma_alloc_attrs: the buffer is not in one piece in the linear map, C code cannot use it")
        return NULL
    return <void *>(object.page_offset + phys)


cdef void c_dma_free_attrs(dma_conformance_object *object, device *dev, size_t size, void *cpu_addr,
                           dma_addr_t dma_handle, unsigned long attrs) noexcept nogil:
    cdef u64 alias
    if cpu_addr != NULL:
        alias = checked_address((<alias_fn><void *>alias_of)(facts(object).kernel, <u64>cpu_addr - object.page_offset))
        checked((<free_fn><void *>dma_free_attrs)(entered(dev), size, alias, dma_handle, attrs))


cdef page_t c_dma_alloc_pages(dma_conformance_object *object, device *dev, size_t size, dma_addr_t *dma_handle,
                              int dir, unsigned int gfp) noexcept nogil:
    cdef page_t page = 0
    return 0 if checked((<alloc_pages_fn><void *>dma_alloc_pages)(entered(dev), size, dma_handle, &page, dir)) else page


cdef void c_dma_free_pages(dma_conformance_object *object, device *dev, size_t size, page_t page,
                           dma_addr_t dma_handle, int dir) noexcept nogil:
    checked((<free_pages_fn><void *>dma_free_pages)(entered(dev), size, page, dma_handle, dir))


cdef sg_table *c_dma_alloc_noncontiguous(dma_conformance_object *object, device *dev, size_t size, int dir,
                                         unsigned int gfp, unsigned long attrs) noexcept nogil:
    cdef sg_table *sgt = <sg_table *>c_kmalloc(object, sizeof(sg_table), GFP_ZERO)
    if sgt == NULL:
        return NULL
    if checked((<alloc_noncontiguous_fn><void *>dma_alloc_noncontiguous)(entered(dev), size, sgt,
                                                                         facts(object).how.max_ents, dir, attrs)):
        c_kfree(object, sgt)
        return NULL
    return sgt


cdef void c_dma_free_noncontiguous(dma_conformance_object *object, device *dev, size_t size, sg_table *sgt,
                                   int dir) noexcept nogil:
    checked((<free_noncontiguous_fn><void *>dma_free_noncontiguous)(entered(dev), size, sgt, dir))
    sg_free_table(sgt, facts(object).how.max_ents)
    c_kfree(object, sgt)


cdef int c_dma_supported(dma_conformance_object *object, device *dev, u64 mask) noexcept nogil:
    return checked((<supported_fn><void *>dma_supported)(entered(dev), mask))


cdef int c_dma_set_mask(dma_conformance_object *object, device *dev, u64 mask) noexcept nogil:
    return checked((<set_mask_fn><void *>set_mask)(entered(dev), dev, mask, False))


cdef int c_dma_set_coherent_mask(dma_conformance_object *object, device *dev, u64 mask) noexcept nogil:
    return checked((<set_mask_fn><void *>set_mask)(entered(dev), dev, mask, True))


cdef u64 c_dma_get_required_mask(dma_conformance_object *object, device *dev) noexcept nogil:
    return checked_address((<u64_fn><void *>dma_get_required_mask)(entered(dev)))


cdef u8 c_dma_addressing_limited(dma_conformance_object *object, device *dev) noexcept nogil:
    return checked_bool((<bool_fn><void *>dma_addressing_limited)(entered(dev)))


cdef size_t c_dma_max_mapping_size(dma_conformance_object *object, device *dev) noexcept nogil:
    return checked_address((<u64_fn><void *>dma_max_mapping_size)(entered(dev)))


cdef size_t c_dma_opt_mapping_size(dma_conformance_object *object, device *dev) noexcept nogil:
    return checked_address((<u64_fn><void *>dma_opt_mapping_size)(entered(dev)))


cdef unsigned long c_dma_get_merge_boundary(dma_conformance_object *object, device *dev) noexcept nogil:
    return checked_address((<u64_fn><void *>dma_get_merge_boundary)(entered(dev)))


cdef u8 c_dma_need_sync(dma_conformance_object *object, device *dev, dma_addr_t dma_addr) noexcept nogil:
    return checked_bool((<error_fn><void *>dma_need_sync)(entered(dev), dma_addr))


cdef u8 c_dma_can_mmap(dma_conformance_object *object, device *dev) noexcept nogil:
    return checked_bool((<bool_fn><void *>dma_can_mmap)(entered(dev)))


cdef u8 c_dma_pci_p2pdma_supported(dma_conformance_object *object, device *dev) noexcept nogil:
    return (<bool_fn><void *>dma_pci_p2pdma_supported)(entered(dev))


cdef dma_addr_t c_dma_map_phys(dma_conformance_object *object, device *dev, phys_addr_t phys, size_t size, int dir,
                               unsigned long attrs) noexcept nogil:
    return checked_address((<phys_fn><void *>dma_map_phys)(entered(dev), phys, size, dir, attrs))


cdef void c_dma_unmap_phys(dma_conformance_object *object, device *dev, dma_addr_t addr, size_t size, int dir,
                           unsigned long attrs) noexcept nogil:
    checked((<unmap_fn><void *>dma_unmap_phys)(entered(dev), addr, size, dir, attrs))


cdef u8 c_dma_need_unmap(dma_conformance_object *object, device *dev) noexcept nogil:
    return checked_bool((<bool_fn><void *>dma_need_unmap)(entered(dev)))


cdef u8 c_dma_iova_try_alloc(dma_conformance_object *object, device *dev, dma_iova_state *state, phys_addr_t phys,
                             size_t size) noexcept nogil:
    return checked_bool((<try_alloc_fn><void *>dma_iova_try_alloc)(entered(dev), state, phys, size))


cdef int c_dma_iova_link(dma_conformance_object *object, device *dev, dma_iova_state *state, phys_addr_t phys,
                         size_t offset, size_t size, int dir, unsigned long attrs) noexcept nogil:
    return checked((<link_fn><void *>dma_iova_link)(entered(dev), state, phys, offset, size, dir, attrs))


cdef int c_dma_iova_sync(dma_conformance_object *object, device *dev, dma_iova_state *state, size_t offset,
                         size_t size) noexcept nogil:
    return checked((<iova_sync_fn><void *>dma_iova_sync)(entered(dev), state, offset, size))


cdef void c_dma_iova_unlink(dma_conformance_object *object, device *dev, dma_iova_state *state, size_t offset,
                            size_t size, int dir, unsigned long attrs) noexcept nogil:
    checked((<unlink_fn><void *>dma_iova_unlink)(entered(dev), state, offset, size, dir, attrs))


cdef void c_dma_iova_free(dma_conformance_object *object, device *dev, dma_iova_state *state) noexcept nogil:
    checked((<iova_free_fn><void *>dma_iova_free)(entered(dev), state))


cdef void c_dma_iova_destroy(dma_conformance_object *object, device *dev, dma_iova_state *state, size_t mapped_len,
                             int dir, unsigned long attrs) noexcept nogil:
    checked((<destroy_fn><void *>dma_iova_destroy)(entered(dev), state, mapped_len, dir, attrs))


# -- P2P memory ------------------------------------------------------------------------------------------------

ctypedef int (*segment_fn)(void *, void *, scatterlist *) noexcept nogil
ctypedef int (*state_fn)(void *, void *, page_t) noexcept nogil
ctypedef int (*page_fn)(void *, page_t) noexcept nogil


cdef int is_p2p(Kernel kernel, page_t page) noexcept nogil:
    return is_pci_p2pdma_page(kernel.machine, page)


cdef u8 c_is_pci_p2pdma_page(dma_conformance_object *object, page_t page) noexcept nogil:
    return (<page_fn><void *>is_p2p)(facts(object).kernel, page) != 0


cdef int c_pci_p2pdma_map_segment(dma_conformance_object *object, pci_p2pdma_map_state *state, device *dev,
                                  scatterlist *sg) noexcept nogil:
    return checked((<segment_fn><void *>pci_p2pdma_map_segment)(state, entered(dev), sg))


cdef int c_pci_p2pdma_state(dma_conformance_object *object, pci_p2pdma_map_state *state, device *dev,
                            page_t page) noexcept nogil:
    return checked((<state_fn><void *>pci_p2pdma_state)(state, entered(dev), page))


# -- what translation tables are built with --------------------------------------------------------------------

ctypedef u64 (*area_fn)(u64 *, u64, u64, u64, u64, u64, u64) noexcept nogil
ctypedef int (*init_fn)(iova_domain *, u64, u64, u64) noexcept nogil


cdef unsigned long c_iommu_area_alloc(dma_conformance_object *object, unsigned long *map, unsigned long size,
                                      unsigned long start, unsigned int nr, unsigned long shift,
                                      unsigned long boundary_size, unsigned long align_mask) noexcept nogil:
    return checked_address((<area_fn><void *>iommu_area_alloc)(<u64 *>map, size, start, nr, shift,
                                                               boundary_size, align_mask))


cdef void c_init_iova_domain(dma_conformance_object *object, c_iova_domain *iovad, unsigned long granule,
                             unsigned long start_pfn) noexcept nogil:
    cdef iova_domain *domain = <iova_domain *>calloc(1, sizeof(iova_domain))
    if domain == NULL:
        c_bug(object, b"init_iova_domain: no memory")
    checked((<init_fn><void *>init_iova_domain)(domain, granule, start_pfn, <u64>1 << object.page_shift))
    iovad.granule = granule
    iovad.start_pfn = start_pfn
    iovad.dma_32bit_pfn = domain.dma_32bit_pfn
    iovad.__domain = domain


cdef int c_iova_domain_init_rcaches(dma_conformance_object *object, c_iova_domain *iovad) noexcept nogil:
    return iova_domain_init_rcaches(<iova_domain *>iovad.__domain, facts(object).nr_cpus, facts(object).version)


cdef void c_put_iova_domain(dma_conformance_object *object, c_iova_domain *iovad) noexcept nogil:
    if iovad.__domain != NULL:
        put_iova_domain(<iova_domain *>iovad.__domain)
        free(iovad.__domain)
        iovad.__domain = NULL


cdef c_iova *c_alloc_iova(dma_conformance_object *object, c_iova_domain *iovad, unsigned long size,
                          unsigned long limit_pfn, u8 size_aligned) noexcept nogil:
    return <c_iova *>alloc_iova(<iova_domain *>iovad.__domain, size, limit_pfn, size_aligned)


cdef void c_free_iova(dma_conformance_object *object, c_iova_domain *iovad, unsigned long pfn) noexcept nogil:
    free_iova(<iova_domain *>iovad.__domain, pfn)


cdef c_iova *c_find_iova(dma_conformance_object *object, c_iova_domain *iovad, unsigned long pfn) noexcept nogil:
    return <c_iova *>find_iova(<iova_domain *>iovad.__domain, pfn)


cdef c_iova *c_reserve_iova(dma_conformance_object *object, c_iova_domain *iovad, unsigned long pfn_lo,
                            unsigned long pfn_hi) noexcept nogil:
    return <c_iova *>reserve_iova(<iova_domain *>iovad.__domain, pfn_lo, pfn_hi)


cdef unsigned long c_alloc_iova_fast(dma_conformance_object *object, c_iova_domain *iovad, unsigned long size,
                                     unsigned long limit_pfn, u8 flush_rcache) noexcept nogil:
    return alloc_iova_fast(<iova_domain *>iovad.__domain, size, limit_pfn, flush_rcache,
                           <int>c_smp_processor_id(object))


cdef void c_free_iova_fast(dma_conformance_object *object, c_iova_domain *iovad, unsigned long pfn,
                           unsigned long size) noexcept nogil:
    free_iova_fast(<iova_domain *>iovad.__domain, pfn, size, <int>c_smp_processor_id(object))

cdef void fill_dma_calls(dma_conformance_calls *calls) noexcept:
    calls.dma_map_page_attrs = c_dma_map_page_attrs
    calls.dma_unmap_page_attrs = c_dma_unmap_page_attrs
    calls.dma_map_sg_attrs = c_dma_map_sg_attrs
    calls.dma_unmap_sg_attrs = c_dma_unmap_sg_attrs
    calls.dma_map_sgtable = c_dma_map_sgtable
    calls.dma_map_resource = c_dma_map_resource
    calls.dma_unmap_resource = c_dma_unmap_resource
    calls.dma_sync_single_for_cpu = c_dma_sync_single_for_cpu
    calls.dma_sync_single_for_device = c_dma_sync_single_for_device
    calls.dma_sync_sg_for_cpu = c_dma_sync_sg_for_cpu
    calls.dma_sync_sg_for_device = c_dma_sync_sg_for_device
    calls.dma_mapping_error = c_dma_mapping_error
    calls.dma_alloc_attrs = c_dma_alloc_attrs
    calls.dma_free_attrs = c_dma_free_attrs
    calls.dma_alloc_pages = c_dma_alloc_pages
    calls.dma_free_pages = c_dma_free_pages
    calls.dma_alloc_noncontiguous = c_dma_alloc_noncontiguous
    calls.dma_free_noncontiguous = c_dma_free_noncontiguous
    calls.dma_supported = c_dma_supported
    calls.dma_set_mask = c_dma_set_mask
    calls.dma_set_coherent_mask = c_dma_set_coherent_mask
    calls.dma_get_required_mask = c_dma_get_required_mask
    calls.dma_addressing_limited = c_dma_addressing_limited
    calls.dma_max_mapping_size = c_dma_max_mapping_size
    calls.dma_opt_mapping_size = c_dma_opt_mapping_size
    calls.dma_get_merge_boundary = c_dma_get_merge_boundary
    calls.dma_need_sync = c_dma_need_sync
    calls.dma_can_mmap = c_dma_can_mmap
    calls.dma_pci_p2pdma_supported = c_dma_pci_p2pdma_supported
    calls.dma_map_phys = c_dma_map_phys
    calls.dma_unmap_phys = c_dma_unmap_phys
    calls.dma_need_unmap = c_dma_need_unmap
    calls.dma_iova_try_alloc = c_dma_iova_try_alloc
    calls.dma_iova_link = c_dma_iova_link
    calls.dma_iova_sync = c_dma_iova_sync
    calls.dma_iova_unlink = c_dma_iova_unlink
    calls.dma_iova_free = c_dma_iova_free
    calls.dma_iova_destroy = c_dma_iova_destroy
    calls.is_pci_p2pdma_page = c_is_pci_p2pdma_page
    calls.pci_p2pdma_map_segment = c_pci_p2pdma_map_segment
    calls.pci_p2pdma_state = c_pci_p2pdma_state
    calls.iommu_area_alloc = c_iommu_area_alloc
    calls.init_iova_domain = c_init_iova_domain
    calls.iova_domain_init_rcaches = c_iova_domain_init_rcaches
    calls.put_iova_domain = c_put_iova_domain
    calls.alloc_iova = c_alloc_iova
    calls.free_iova = c_free_iova
    calls.find_iova = c_find_iova
    calls.reserve_iova = c_reserve_iova
    calls.alloc_iova_fast = c_alloc_iova_fast
    calls.free_iova_fast = c_free_iova_fast
