# SPDX-License-Identifier: MIT
"""Pools of small coherent blocks, with the free list in the blocks."""

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dma_ops import Device, DmaError, Machine
from dma_ops.dmapool import dma_pool_alloc, dma_pool_create, dma_pool_destroy, dma_pool_free, dma_pool_zalloc


def make(**facts):
    coherent = facts.pop("coherent", True)
    return Device("dev", Machine("test", ram=[(0, 512 << 20)], **facts), coherent=coherent)


@pytest.mark.parametrize(
    ("size", "align", "boundary", "block", "allocation", "offsets"),
    [
        pytest.param(1, 0, 0, 4, 4096, [0, 4, 8], id="4 bytes at least"),
        pytest.param(100, 64, 0, 128, 4096, [0, 128, 256], id="size grows to the alignment"),
        pytest.param(48, 16, 256, 48, 4096, [0, 48, 96, 144, 192, 256], id="no block crosses"),
        pytest.param(2048, 0, 0, 2048, 4096, [0, None], id="6.1 leaves out the block that ends at the boundary"),
        pytest.param(6000, 0, 0, 6000, 6000, [0, None], id="a block larger than a page"),
        pytest.param(2000, 0, 8192, 2000, 4096, [0, 2000, 4000, None], id="6.1 hands out a block beyond the end"),
    ],
)
def test_layout(size, align, boundary, block, allocation, offsets):
    """offsets within the first page; None: the block comes from another page."""
    pool = dma_pool_create("p", make(), size, align, boundary)
    assert (pool.size, pool.allocation) == (block, allocation)
    blocks = [dma_pool_alloc(pool) for _ in offsets]
    start = blocks[0][1]
    assert [handle - start if 0 <= handle - start < allocation else None for _, handle in blocks] == offsets
    assert all(cpu == handle for cpu, handle in blocks)


@pytest.mark.parametrize(("size", "align", "boundary"), [(0, 0, 0), (8, 3, 0), (64, 0, 48), (64, 0, 32)],
                         ids=["no bytes", "align", "boundary", "boundary below the size"])
def test_refused(size, align, boundary):
    with pytest.raises(DmaError) as error:
        dma_pool_create("p", make(), size, align, boundary)
    assert error.value.errno == errno.EINVAL


def test_last_in_first_out():
    pool = dma_pool_create("p", make(), 64)
    blocks = [dma_pool_alloc(pool) for _ in range(3)]
    for block in blocks:
        dma_pool_free(pool, *block)
    assert [dma_pool_alloc(pool) for _ in range(3)] == blocks[::-1]


def test_a_device_that_writes_to_a_freed_block_bends_the_list():
    dev = make()
    pool = dma_pool_create("p", dev, 64)
    first, _ = dma_pool_alloc(pool), dma_pool_alloc(pool)
    dma_pool_free(pool, *first)
    dev.dma_write(first[1], (0x345).to_bytes(4, "little"))
    assert dma_pool_alloc(pool) == first
    assert dma_pool_alloc(pool)[1] == first[1] + 0x345


def test_double_free_hands_a_block_out_for_ever():
    pool = dma_pool_create("p", make(), 64)
    block = dma_pool_alloc(pool)
    dma_pool_free(pool, *block)
    dma_pool_free(pool, *block)
    assert dma_pool_alloc(pool) == dma_pool_alloc(pool) == dma_pool_alloc(pool) == block


def test_bad_dma_is_logged():
    dev = make()
    pool = dma_pool_create("p", dev, 64)
    cpu, handle = dma_pool_alloc(pool)
    dma_pool_free(pool, cpu, handle + 4096)
    assert dev.machine.dmesg == ["dma_pool_free: bad dma"]
    assert pool.in_use == 1


def test_zalloc_clears_and_needs_no_sync():
    dev = make(cached=True, coherent=False)
    pool = dma_pool_create("p", dev, 64)
    cpu, handle = dma_pool_alloc(pool)
    dev.machine.cpu_write(cpu, b"x" * 64)
    dma_pool_free(pool, cpu, handle)
    assert dma_pool_zalloc(pool) == (cpu, handle)
    assert dev.dma_read(handle, 64) == bytes(64)


def test_destroy_leaks_what_is_busy():
    dev = make()
    pool = dma_pool_create("p", dev, 2048)
    kept, given = dma_pool_alloc(pool), dma_pool_alloc(pool)
    dma_pool_free(pool, *given)
    dma_pool_destroy(pool)
    assert dev.machine.pages_allocated == 1
    assert dev.machine.dmesg == ["dma_pool_destroy: busy"]
    with pytest.raises(ValueError, match="destroyed"):
        dma_pool_free(pool, *kept)


def test_no_memory():
    dev = make()
    pool = dma_pool_create("p", dev, 64)
    dev.machine.fail("pages")
    with pytest.raises(DmaError) as error:
        dma_pool_alloc(pool)
    assert error.value.retryable


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 5000),
    st.sampled_from([0, 4, 32, 512]),
    st.sampled_from([0, 256, 1024, 4096]),
    st.lists(st.integers(-5, 8), max_size=40),
    st.booleans(),
)
def test_blocks_keep_apart(size, align, boundary, steps, big_endian):
    """Aligned, within the boundary, disjoint (DMA-45)."""
    dev = make(big_endian=big_endian)
    try:
        pool = dma_pool_create("p", dev, size, align, boundary)
    except DmaError:
        assert 0 < boundary < pool_size(size, align)
        return
    held = []
    for step in steps:
        if step < 0:
            if held:
                dma_pool_free(pool, *held.pop(step % len(held)))
            continue
        cpu, handle = dma_pool_alloc(pool)
        assert handle % (align or 1) == 0
        if boundary:
            assert handle // boundary == (handle + size - 1) // boundary
        assert all(abs(handle - other) >= size for _, other in held)
        held.append((cpu, handle))
        assert pool.in_use == len(held)
    for block in held:
        dma_pool_free(pool, *block)
    dma_pool_destroy(pool)
    assert dev.machine.pages_allocated == 0


def pool_size(size, align):
    align = align or 1
    return (max(size, 4) + align - 1) // align * align
