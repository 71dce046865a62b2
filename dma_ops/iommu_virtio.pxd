# SPDX-License-Identifier: MIT
"""virtio-iommu: mappings are requests, and the table is the hypervisor's (drivers/iommu/virtio-iommu.c, 6.1)."""

from scatterlist.types cimport phys_addr_t, u64

from .device cimport Walker
from .iommu cimport IommuDomain
from .rbtree cimport rb_node

cdef struct viommu_mapping:
    rb_node node                # first: a tree node is a mapping
    u64 start
    u64 end                     # inclusive
    phys_addr_t paddr
    unsigned int flags

cdef class VirtioWalker(Walker):
    cdef rb_node *mappings      # what the device was told, by address

cdef class VirtioDomain(IommuDomain):
    cdef VirtioWalker device

cdef viommu_mapping *find_mapping(rb_node *root, u64 iova) noexcept nogil
