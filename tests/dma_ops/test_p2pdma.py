# SPDX-License-Identifier: MIT
"""Classification, providers and routing, against the rules of drivers/pci/p2pdma.c (Linux 6.1)."""

import errno

import pytest

from dma_ops import Device, DmaError, KernelBug, KernelHang, Machine, p2pdma
from dma_ops.pci import ACS_CR, ACS_DT, ACS_EC, ACS_RR, ACS_SV, ACS_TB, ACS_UF, PciTree, PciType, Window, pci_dev_put

NOT_SUPPORTED, BUS_ADDR, THRU = 1, 2, 3
BAR = 0xfc000000
SIZE = 16 << 20
ZEN = ("AMD", 0x17)


def make(cpu=None, **tree):
    machine = Machine("test", arch="x86_64", pci_p2pdma=True, ram=((0, 1 << 29),))
    return PciTree(machine, cpu=cpu, **tree)


def switch(cpu=None, host_id=(0x8086, 0x29c0), **facts):
    """Root port 04.0 above a switch with a, b, c below its ports, d below root port 05.0; c has the memory."""
    tree = make(cpu, **facts)
    host = tree.add_host()
    host.add("00.0", *host_id)
    rp = host.add("04.0", 0x1b36, 0xc, kind=PciType.ROOT_PORT, acs=0)
    up = rp.add("00.0", 0x104c, 0x8232, kind=PciType.UPSTREAM, acs=0)
    down = [up.add(f"{i:02x}.0", 0x104c, 0x8233, kind=PciType.DOWNSTREAM, acs=0) for i in range(3)]
    a, b, c = [port.add("00.0", 0x1234, 0x11e8, acs=0) for port in down]
    other = host.add("05.0", 0x1b36, 0xc, kind=PciType.ROOT_PORT, acs=0)
    d = other.add("00.0", 0x1234, 0x11e8)
    c.add_bar(2, BAR, SIZE)
    nodes = {"rp": rp, "up": up, "down_a": down[0], "down_b": down[1], "down_c": down[2], "a": a, "b": b, "c": c,
             "d": d, "other": other}
    return tree, nodes


def provider(nodes, name="c"):
    p2pdma.pci_p2pdma_add_resource(nodes[name], 2)
    return nodes[name]


# -- classification --------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("cpu", "client", "expected"), [
    pytest.param(None, "c", (BUS_ADDR, 0), id="itself"),
    pytest.param(None, "a", (BUS_ADDR, 4), id="same-switch"),
    pytest.param(None, "d", (NOT_SUPPORTED, 6), id="other-root-port-unknown-host"),
    pytest.param(ZEN, "d", (THRU, 6), id="other-root-port-zen"),
    pytest.param(("AMD", 0x16), "d", (NOT_SUPPORTED, 6), id="before-zen"),
    pytest.param(("HygonGenuine", 0x18), "d", (NOT_SUPPORTED, 6), id="hygon-is-not-amd"),
])
def test_type_and_distance(cpu, client, expected):
    _, nodes = switch(cpu)
    assert p2pdma.calc_map_type_and_dist(nodes["c"], nodes[client]) == expected
    assert p2pdma.calc_map_type_and_dist(nodes[client], nodes["c"]) == expected     # both ways


@pytest.mark.parametrize("port", ["a", "down_a", "up", "down_c", "c"])
@pytest.mark.parametrize(("bit", "redirects"), [(ACS_SV, False), (ACS_TB, False), (ACS_RR, True), (ACS_CR, True),
                                                (ACS_UF, False), (ACS_EC, True), (ACS_DT, False)])
def test_one_acs_bit_on_any_port_of_the_path(port, bit, redirects):
    _, nodes = switch()
    provider(nodes)
    nodes[port].acs = bit
    expected = NOT_SUPPORTED if redirects else BUS_ADDR
    assert p2pdma.calc_map_type_and_dist(nodes["c"], nodes["a"]) == (expected, 4)
    assert (nodes["a"].claim(BAR + 0x123) is None) == redirects


@pytest.mark.parametrize("port", ["rp", "other", "down_b", "b"])
def test_acs_off_the_path_does_not_matter(port):
    _, nodes = switch()
    nodes[port].acs = ACS_RR | ACS_CR | ACS_EC
    assert p2pdma.calc_map_type_and_dist(nodes["c"], nodes["a"]) == (BUS_ADDR, 4)
    assert nodes["a"].claim(BAR) == (BAR, SIZE)


def test_own_redirect_keeps_a_function_from_its_own_memory():
    _, nodes = switch(ZEN)
    nodes["c"].acs = ACS_RR
    assert p2pdma.calc_map_type_and_dist(nodes["c"], nodes["c"]) == (THRU, 0)


@pytest.mark.parametrize(("acs", "expected"), [(0, BUS_ADDR), (ACS_RR, NOT_SUPPORTED)])
def test_two_functions_of_one_device(acs, expected):
    tree = make()
    rp = tree.add_host().add("04.0", 0x1b36, 0xc, kind=PciType.ROOT_PORT, acs=acs)
    first, second = rp.add("00.0", 1, 1), rp.add("00.1", 1, 2)
    second.add_bar(0, BAR, SIZE)
    assert p2pdma.calc_map_type_and_dist(second, first) == (expected, 2)
    assert first.claim(BAR) == ((BAR, SIZE) if expected == BUS_ADDR else None)


def test_integrated_endpoints_have_no_common_bridge():
    tree = make(ZEN)
    host = tree.add_host()
    first, second = host.add("02.0", 1, 1), host.add("03.0", 1, 2)
    second.add_bar(0, BAR, SIZE)
    assert p2pdma.calc_map_type_and_dist(second, first) == (THRU, 2)
    assert first.claim(BAR) is None
    assert second.claim(BAR) == (BAR, SIZE)


def test_a_virtual_function_hangs_where_its_physical_function_does():
    tree = make()
    rp = tree.add_host().add("04.0", 0x1b36, 0xc, kind=PciType.ROOT_PORT)
    physical = rp.add("00.0", 1, 1)
    virtual = rp.add("01.0", 1, 2, physfn=physical)
    assert p2pdma.calc_map_type_and_dist(physical, virtual) == (BUS_ADDR, 2)


def two_hosts(first, second):
    tree = make()
    ends = []
    for bus, (devfn, vendor, device, kind) in ((0, first), (0x80, second)):
        host = tree.add_host(0, bus)
        host.add(devfn, vendor, device, kind=kind)
        ends.append(host.add("0a.0", 0x1b36, 0xc, kind=PciType.ROOT_PORT).add("00.0", 1, 1))
    return ends


RC, RP = PciType.RC_ENDPOINT, PciType.ROOT_PORT


@pytest.mark.parametrize(("first", "second", "one", "two"), [
    pytest.param(("00.0", 0x8086, 0x3c00, RC), ("00.0", 0x8086, 0x3c00, RC), THRU, NOT_SUPPORTED, id="same-host-only"),
    pytest.param(("00.0", 0x8086, 0x09a2, RC), ("00.0", 0x8086, 0x09a2, RC), THRU, THRU, id="ice-lake"),
    pytest.param(("00.0", 0x8086, 0x09a2, RC), ("00.0", 0x8086, 0x3c00, RC), THRU, NOT_SUPPORTED, id="one-flagged"),
    pytest.param(("02.0", 0x8086, 0x2030, RP), ("02.0", 0x8086, 0x2030, RP), THRU, THRU, id="root-port-first"),
    pytest.param(("05.0", 0x8086, 0x09a2, RC), ("05.0", 0x8086, 0x09a2, RC), NOT_SUPPORTED, NOT_SUPPORTED,
                 id="first-is-neither-00.0-nor-a-root-port"),
    pytest.param(("00.0", 0x8086, 0x29c0, RC), ("00.0", 0x8086, 0x29c0, RC), NOT_SUPPORTED, NOT_SUPPORTED, id="q35"),
])
def test_host_bridge_whitelist(first, second, one, two):
    a, b = two_hosts(first, second)
    neighbour = a.host.add("0b.0", 0x1b36, 0xc, kind=PciType.ROOT_PORT).add("00.0", 1, 1)
    assert p2pdma.calc_map_type_and_dist(a, neighbour) == (one, 4)
    assert p2pdma.calc_map_type_and_dist(a, b) == (two, 4)


def test_users_may_allow_a_bridge():
    _, nodes = switch(allowed_bridges=((0x8086, 0x29c0, 0),))
    assert p2pdma.calc_map_type_and_dist(nodes["c"], nodes["d"]) == (THRU, 6)


def test_the_log_names_the_ports():
    tree, nodes = switch()
    nodes["down_c"].acs = nodes["down_a"].acs = ACS_RR
    p2pdma.calc_map_type_and_dist(nodes["c"], nodes["a"], True)
    assert tree.machine.dmesg == [
        "0000:03:00.0: ACS redirect is set between the client and provider (0000:05:00.0)",
        "0000:03:00.0: to disable ACS redirect for this path, add the kernel parameter: "
        "pci=disable_acs_redir=0000:02:02.0;0000:02:00.0",
        "0000:00:00.0: Host bridge not in P2PDMA whitelist: 8086:29c0",
        "0000:03:00.0: cannot be used for peer-to-peer DMA as the client and provider (0000:05:00.0) do not share an "
        "upstream bridge or whitelisted host bridge",
    ]


def test_ten_names_overflow_the_buffer():
    tree = make()
    port = root = tree.add_host().add("01.0", 1, 1, kind=PciType.ROOT_PORT, acs=ACS_RR)
    for _ in range(4):
        port = port.add("00.0", 1, 1, kind=PciType.UPSTREAM, acs=ACS_RR)
        port = port.add("00.0", 1, 1, kind=PciType.DOWNSTREAM, acs=ACS_RR)
    p2pdma.calc_map_type_and_dist(port.add("00.0", 1, 1, acs=ACS_RR), root.add("01.0", 1, 1), True)
    listed = tree.machine.dmesg[1].partition("disable_acs_redir=")[2]
    assert len(listed) == 127 and listed.endswith("0000:01:00.0;0000:00:01")


def test_the_type_is_cached_until_the_next_distance_call():
    tree, nodes = switch()
    page = BAR
    provider(nodes)
    dev = Device("a", tree.machine)
    dev.pci = nodes["a"]
    assert p2pdma.p2pdma_map_type(dev, page) == "BUS_ADDR"
    nodes["down_a"].acs = ACS_RR
    assert p2pdma.p2pdma_map_type(dev, page) == "BUS_ADDR"
    assert p2pdma.pci_p2pdma_distance(nodes["c"], dev) == -1
    assert p2pdma.p2pdma_map_type(dev, page) == "NOT_SUPPORTED"


# -- distance_many, find_many ----------------------------------------------------------------------------------

def test_a_quiet_distance_leaves_the_map_without_a_message():
    """The type is cached by whichever of distance and map comes first, and only who finds it out says why."""
    tree, nodes = switch()
    provider(nodes)
    dev = Device("d", tree.machine)
    dev.pci = nodes["d"]
    tree.machine.dmesg.clear()
    assert p2pdma.pci_p2pdma_distance(nodes["c"], dev) == -1
    assert p2pdma.p2pdma_map_type(dev, BAR) == "NOT_SUPPORTED"
    assert tree.machine.dmesg == []
    nodes["c"].p2pdma.map_types.clear()
    assert p2pdma.p2pdma_map_type(dev, BAR) == "NOT_SUPPORTED"
    assert "cannot be used for peer-to-peer DMA" in tree.machine.dmesg[-1]


def test_the_host_bridge_is_named_only_after_a_redirect():
    """Without ACS in the way nobody says which bridge is not in the list, verbose or not."""
    tree, nodes = switch()
    p2pdma.calc_map_type_and_dist(nodes["c"], nodes["d"], True)
    assert not any("whitelist:" in line for line in tree.machine.dmesg)
    nodes["down_c"].acs = ACS_RR
    p2pdma.calc_map_type_and_dist(nodes["c"], nodes["a"], False)
    assert tree.machine.dmesg[-1] == "0000:00:00.0: Host bridge not in P2PDMA whitelist: 8086:29c0"


@pytest.mark.parametrize(("cpu", "clients", "expected"), [
    (None, [], -1), (None, ["c"], 0), (None, ["a"], 4), (None, ["a", "b"], 8), (None, ["a", "d"], -1),
    (ZEN, ["a", "d"], 10), (ZEN, ["c", "a", "b"], 8),
])
def test_distance_many_is_the_sum(cpu, clients, expected):
    _, nodes = switch(cpu)
    assert p2pdma.pci_p2pdma_distance_many(nodes["c"], [nodes[name] for name in clients]) == expected


def test_a_platform_child_has_a_distance_but_cannot_map():
    tree, nodes = switch()
    provider(nodes)
    child = Device("child", tree.machine, pci=False)
    assert p2pdma.pci_p2pdma_distance(nodes["c"], child, True) == -1
    assert tree.machine.dmesg[-1] == "child: cannot be used for peer-to-peer DMA as it is not a PCI device"
    child.pci = nodes["a"]
    assert p2pdma.pci_p2pdma_distance(nodes["c"], child) == 4
    assert p2pdma.p2pdma_map_type(child, BAR) == "NOT_SUPPORTED"


def test_find_takes_the_nearest_published_provider_with_a_reference():
    _, nodes = switch(ZEN)
    nodes["d"].add_bar(2, 0xe0000000, SIZE)
    near, far = provider(nodes), provider(nodes, "d")
    assert p2pdma.pci_p2pmem_find(nodes["a"]) is None
    p2pdma.pci_p2pmem_publish(far, True)
    assert p2pdma.pci_p2pmem_find(nodes["a"]) is far
    pci_dev_put(far)
    p2pdma.pci_p2pmem_publish(near, True)
    before = near.refs
    assert p2pdma.pci_p2pmem_find_many([nodes["a"], nodes["b"]]) is near
    assert near.refs == before + 1
    pci_dev_put(near)
    assert p2pdma.pci_p2pmem_find_many([]) is None


def test_equally_near_providers_are_chosen_by_chance():
    _, nodes = switch(seed=7)
    nodes["b"].add_bar(2, 0xe0000000, SIZE)
    for name in "bc":
        p2pdma.pci_p2pmem_publish(provider(nodes, name), True)
    found = [p2pdma.pci_p2pmem_find(nodes["a"]) for _ in range(1000)]
    assert 400 < found.count(nodes["b"]) < 600


# -- providers -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("bar", "size", "offset", "code"), [
    pytest.param(0, 0, 0, errno.EINVAL, id="no-such-bar"),
    pytest.param(1, 0, 0, errno.EINVAL, id="io-bar"),
    pytest.param(2, 0, SIZE, errno.EINVAL, id="offset-at-the-end"),
    pytest.param(2, SIZE, 2 << 20, errno.EINVAL, id="more-than-the-rest"),
    pytest.param(2, SIZE + 1, 0, errno.EINVAL, id="too-big"),
    pytest.param(2, (1 << 64) - (2 << 20), 2 << 20, errno.EINVAL, id="size-plus-offset-wraps"),
    pytest.param(2, 1 << 20, 0, errno.EINVAL, id="half-a-subsection"),
    pytest.param(2, 0, 1 << 20, errno.EINVAL, id="misaligned-start"),
    pytest.param(3, 0, 0, errno.ENXIO, id="in-ram"),
])
def test_add_resource_refuses(bar, size, offset, code):
    tree, nodes = switch()
    nodes["c"].add_bar(1, 0x1000, 64, io=True)
    nodes["c"].add_bar(3, 0x1000000, SIZE)
    with pytest.raises(DmaError) as error:
        p2pdma.pci_p2pdma_add_resource(nodes["c"], bar, size, offset)
    assert error.value.errno == code and not error.value.retryable
    assert not tree.machine.is_p2p_page(BAR)
    assert nodes["c"].p2pdma is None or nodes["c"].p2pdma.pool.size == 0


def test_add_resource_refuses_an_overlap():
    _, nodes = switch()
    p2pdma.pci_p2pdma_add_resource(nodes["c"], 2, 2 << 20, 4 << 20)
    for size, offset, code in ((2 << 20, 4 << 20, errno.ENOMEM), (4 << 20, 2 << 20, errno.ENOMEM),
                               (0, 0, errno.EEXIST)):
        with pytest.raises(DmaError) as error:
            p2pdma.pci_p2pdma_add_resource(nodes["c"], 2, size, offset)
        assert error.value.errno == code


def test_without_the_config_nothing_is_p2p():
    tree = PciTree(Machine("plain"))
    dev = tree.add_host().add("01.0", 1, 1)
    dev.add_bar(0, BAR, SIZE)
    with pytest.raises(DmaError) as error:
        p2pdma.pci_p2pdma_add_resource(dev, 0)
    assert error.value.errno == errno.EOPNOTSUPP


def test_size_0_is_the_rest_and_pages_know_it():
    tree, nodes = switch()
    p2pdma.pci_p2pdma_add_resource(nodes["c"], 2, 0, 4 << 20)
    assert nodes["c"].p2pdma.pool.size == SIZE - (4 << 20)
    assert not tree.machine.is_p2p_page(BAR) and tree.machine.is_p2p_page(BAR + (4 << 20))
    assert not tree.machine.is_p2p_page(BAR + SIZE)


def test_bus_addresses_follow_the_host_window_and_wrap():
    tree = make()
    host = tree.add_host(windows=[Window(0x1_0000_0000, 0x2_0000_0000, 0x1_0000_0000)])
    dev = host.add("01.0", 1, 1)
    dev.add_bar(0, 0x1_4000_0000, SIZE)
    p2pdma.pci_p2pdma_add_resource(dev, 0)
    addr = p2pdma.pci_alloc_p2pmem(dev, 4096)
    assert (addr, p2pdma.pci_p2pmem_virt_to_bus(dev, addr)) == (0x1_4000_0000, 0x4000_0000)
    assert p2pdma.pci_p2pmem_virt_to_bus(dev, 0) == 0
    assert dev.claim(0x4000_1000) == (0x1_4000_1000, SIZE - 0x1000)


def test_the_pool_is_first_fit_in_pages_newest_range_first():
    _, nodes = switch()
    c = nodes["c"]
    p2pdma.pci_p2pdma_add_resource(c, 2, 2 << 20, 0)
    p2pdma.pci_p2pdma_add_resource(c, 2, 2 << 20, 2 << 20)
    low, high = c.p2pdma.pool.chunks[1], c.p2pdma.pool.chunks[0]
    first = p2pdma.pci_alloc_p2pmem(c, 1)
    second = p2pdma.pci_alloc_p2pmem(c, 4097)
    assert (first, second) == (BAR + (2 << 20), BAR + (2 << 20) + 4096)
    assert (low.refs, high.refs, c.p2pdma.pool.available) == (0, 2, (4 << 20) - 3 * 4096)
    assert p2pdma.pci_alloc_p2pmem(c, 2 << 20) == BAR       # the newest has no such run left
    p2pdma.pci_free_p2pmem(c, first, 1)
    assert p2pdma.pci_alloc_p2pmem(c, 4096) == first
    with pytest.raises(DmaError) as error:
        p2pdma.pci_alloc_p2pmem(c, 2 << 20)
    assert error.value.errno == errno.ENOMEM
    with pytest.raises(DmaError):
        p2pdma.pci_alloc_p2pmem(c, 0)


@pytest.mark.parametrize(("addr", "size"), [(BAR, 8192), (BAR + 4096, 4096), (BAR + SIZE, 4096), (BAR, SIZE + 1)])
def test_a_wrong_free_is_a_bug(addr, size):
    _, nodes = switch()
    provider(nodes)
    p2pdma.pci_alloc_p2pmem(nodes["c"], 4096)
    with pytest.raises(KernelBug):
        p2pdma.pci_free_p2pmem(nodes["c"], addr, size)
    assert nodes["c"].p2pdma.pool.chunks[0].refs == 1


def test_alloc_sgl_is_one_entry():
    _, nodes = switch()
    provider(nodes)
    table = p2pdma.pci_p2pmem_alloc_sgl(nodes["c"], 5000)
    assert [row[:3] for row in table.entries()] == [(BAR, 0, 5000)]
    p2pdma.pci_p2pmem_free_sgl(nodes["c"], table)
    assert nodes["c"].p2pdma.pool.available == SIZE


# -- removal ---------------------------------------------------------------------------------------------------

def test_removal_waits_range_by_range():
    """The last registered first. An older range is alive while a younger one is waited for, but the pool asks the
    younger one first, and its reference is killed."""
    tree, nodes = switch()
    c = nodes["c"]
    p2pdma.pci_p2pdma_add_resource(c, 2, 2 << 20, 0)
    p2pdma.pci_p2pdma_add_resource(c, 2, 2 << 20, 2 << 20)
    p2pdma.pci_p2pmem_publish(c, True)
    held = p2pdma.pci_alloc_p2pmem(c, 4096)
    for _ in range(2):
        with pytest.raises(KernelHang, match="1 references"):
            p2pdma.pci_p2pdma_remove(c)
    with pytest.raises(DmaError):
        p2pdma.pci_alloc_p2pmem(c, 4096)
    assert p2pdma.pci_alloc_p2pmem(c, 2 << 20) == BAR           # too long for the younger one
    assert c.p2pdma.pool.chunks[0].refs == 1
    assert tree.machine.is_p2p_page(held) and p2pdma.pci_has_p2pmem(c)
    p2pdma.pci_free_p2pmem(c, held, 4096)
    with pytest.raises(KernelHang):
        p2pdma.pci_p2pdma_remove(c)
    assert not tree.machine.is_p2p_page(held) and tree.machine.is_p2p_page(BAR)
    p2pdma.pci_free_p2pmem(c, BAR, 2 << 20)
    p2pdma.pci_p2pdma_remove(c)
    assert not tree.machine.is_p2p_page(BAR) and c.p2pdma is None and not p2pdma.pci_has_p2pmem(c)
    p2pdma.pci_p2pdma_remove(c)


def test_a_provider_comes_back():
    tree, nodes = switch()
    nodes["d"].add_bar(2, 0xe0000000, SIZE)
    provider(nodes)
    other = provider(nodes, "d")
    p2pdma.pci_p2pdma_remove(nodes["c"])
    assert [row[:2] for row in tree.machine.pgmap_ranges] == [(0xe0000000, 0xe0000000 + SIZE)]
    provider(nodes)
    numbers = [number for _, _, number in tree.machine.pgmap_ranges]
    assert len(set(numbers)) == 2 and 0 not in numbers
    assert tree.machine.pgmap_of(BAR + SIZE - 1) == tree.machine.pgmap_of(BAR) != tree.machine.pgmap_of(0xe0000000)
    assert tree.machine.pgmap_of(0) == 0 and p2pdma.pci_alloc_p2pmem(other, 1) == 0xe0000000
    with pytest.raises(ValueError, match="no P2P range number 99"):
        tree.machine.remove_pgmap(99)


# -- configfs --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("text", "use"), [("1", True), ("1\n", True), ("0\n", False), ("y", True), ("off", False),
                                           ("on\n", True), ("No", False)])
def test_enable_store_takes_booleans(text, use):
    tree, _ = switch()
    assert p2pdma.pci_p2pdma_enable_store(tree, text) == (None, use)


@pytest.mark.parametrize("text", ["0000:99:00.0", "0000:03:00.0", "10", "maybe", "", "o"])
def test_enable_store_refuses(text):
    tree, _ = switch()
    with pytest.raises(DmaError) as error:
        p2pdma.pci_p2pdma_enable_store(tree, text)
    assert error.value.errno == errno.ENODEV


def test_enable_store_takes_a_provider():
    tree, nodes = switch()
    p2pdma.pci_p2pmem_publish(provider(nodes), True)
    pdev, use = p2pdma.pci_p2pdma_enable_store(tree, "0000:05:00.0\n")
    assert pdev is nodes["c"] and use
    assert p2pdma.pci_p2pdma_enable_show(pdev, use) == "0000:05:00.0\n"
    assert p2pdma.pci_p2pdma_enable_show(None, True) == "1\n"
    assert p2pdma.pci_p2pdma_enable_show(pdev, False) == "0\n"


# -- routing: the bytes ----------------------------------------------------------------------------------------

def test_a_bus_address_reaches_the_peers_bytes():
    tree, nodes = switch()
    tree.machine.mem.poke(BAR + SIZE - 4, b"peer")
    dev = Device("a", tree.machine)
    dev.pci = nodes["a"]
    assert dev.dma_read(BAR + SIZE - 4, 4) == b"peer"
    dev.dma_write(BAR, b"hello")
    assert tree.machine.mem.peek(BAR, 5) == b"hello"


def test_a_closed_window_keeps_the_request_from_the_peer():
    tree = make()
    rp = tree.add_host().add("04.0", 1, 1, kind=PciType.ROOT_PORT)
    up = rp.add("00.0", 1, 1, kind=PciType.UPSTREAM)
    near = up.add("00.0", 1, 1, kind=PciType.DOWNSTREAM).add("00.0", 1, 1)
    far = up.add("01.0", 1, 1, kind=PciType.DOWNSTREAM, windows=[(BAR, BAR + 0x1000)]).add("00.0", 1, 1)
    far.add_bar(0, BAR, SIZE)
    assert near.claim(BAR) == (BAR, SIZE)
    assert near.claim(BAR + 0x1000) is None
