# SPDX-License-Identifier: MIT
"""What one function's lines and bytes tell, and what they leave unknown."""

import pytest

from conformance.topology import TopologyError, build
from conformance.topology.config_space import decode
from conformance.topology.lspci import read_lspci
from dma_ops.pci import PciType


def one(text):
    (function,) = read_lspci(text).functions.values()
    return function


def space(size, *, express=None, acs=None, header=0, secondary=0, sriov=None):
    """Bytes of a configuration space."""
    data = bytearray(size)
    data[0:4] = bytes.fromhex("de10 3022".replace(" ", ""))
    data[0x0a:0x0c] = b"\x02\x03"
    data[0x0e] = header
    data[0x19] = secondary
    if express is not None and size == 64:
        data[6], data[0x34] = 0x10, 0x60            # the list is beyond what is there
    elif express is not None:
        data[6] = 0x10
        data[0x34] = 0x60
        data[0x60] = 0x10
        data[0x62] = express << 4 | 2
    if size > 0x100:
        data[0x100:0x104] = (0x150 << 20 | 1 << 16 | 0x0001).to_bytes(4, "little")
        if acs is not None:
            data[0x150:0x154] = (0x200 << 20 | 1 << 16 | 0x000d).to_bytes(4, "little")
            data[0x156:0x158] = acs.to_bytes(2, "little")
        if sriov is not None:
            data[0x200:0x204] = (1 << 16 | 0x0010).to_bytes(4, "little")
            data[0x208] = 1
            for at, value in zip((0x210, 0x214, 0x216), sriov, strict=True):
                data[at:at + 2] = value.to_bytes(2, "little")
    return bytes(data)


def rows(data):
    return "\n".join(f"{at:02x}: {data[at:at + 16].hex(' ')}" for at in range(0, len(data), 16))


@pytest.mark.parametrize(("line", "facts"), [
    ("01:00.0 3D controller [0302]: A [AMD] B [x] [10de:2230] (rev a1)", ((0, 1, 0), 0x10de, 0x2230, 0x0302)),
    ("10000:01:00.0 Non-Volatile memory controller [0108]: A [1c5c:1959]", ((0x10000, 1, 0), 0x1c5c, 0x1959, 0x0108)),
    ("0000:ff:1f.7 0880: 8086:2f81 (rev 02)", ((0, 0xff, 0xff), 0x8086, 0x2f81, 0x0880)),
    ("01:00.0 Ethernet controller: Intel X520 (rev 01)", ((0, 1, 0), None, None, 0x0200)),
    ("01:00.0 Strange thing: X", ((0, 1, 0), None, None, None)),
], ids=lambda value: value[:20] if isinstance(value, str) else "")
def test_header(line, facts):
    function = one(line)
    assert (function.address, function.vendor, function.device, function.class_code) == facts
    assert not function.acs_known


EXPRESS = "\tCapabilities: [60] Express (v2) Endpoint, MSI 00\n"
AER = "\tCapabilities: [100 v1] Advanced Error Reporting\n"
ACS = "\tCapabilities: [150 v1] Access Control Services\n"
CTL = "\t\tACSCtl:\tSrcValid{} TransBlk- ReqRedir{} CmpltRedir{} UpstreamFwd- EgressCtrl{} DirectTrans-\n"


@pytest.mark.parametrize(("lines", "known", "acs", "why"), [
    ("", False, None, "no capabilities"),
    ("\tCapabilities: <access denied>\n", False, None, "root"),
    ("\tFlags: bus master, fast devsel\n\tCapabilities: <access denied>\n", False, None, "root"),
    ("\tStatus: Cap- 66MHz-\n", True, None, ""),
    ("\tCapabilities: [40] Power Management version 3\n", True, None, ""),          # no PCI Express: no ACS
    (EXPRESS, False, None, "no extended capability"),
    (EXPRESS + AER, True, None, ""),
    (EXPRESS + ACS, False, None, "not shown"),
    (EXPRESS + ACS + CTL.format("+", "+", "+", "-"), True, 0x0d, ""),
    (EXPRESS + ACS + CTL.format("-", "-", "-", "+"), True, 0x20, ""),
    (EXPRESS + ACS + CTL.format("-", "-", "-", "-"), True, 0, ""),
    (EXPRESS + ACS + "\t\tACSCtl:\tSrcValid+ TransB\n", False, None, "not shown"),       # the line is cut
])
def test_acs_of_words(lines, known, acs, why):
    function = one("01:00.0 3D controller [0302]: A [10de:2230]\n" + lines)
    assert (function.acs_known, function.acs if known else None) == (known, acs)
    assert known or why in function.acs_why


@pytest.mark.parametrize(("data", "known", "acs", "kind"), [
    (space(64, express=0), False, None, None),
    (space(64), True, None, PciType.CONVENTIONAL),                  # no capabilities at all
    (space(256, express=6), False, None, PciType.DOWNSTREAM),
    (space(4096, express=6), True, None, PciType.DOWNSTREAM),
    (space(4096, express=4, acs=0x1d), True, 0x1d, PciType.ROOT_PORT),
    (space(4096, express=4, acs=0), True, 0, PciType.ROOT_PORT),
    (space(4096, express=15, acs=4), True, 4, None),                # a reserved type
    (b"\xff" * 4096, False, None, None),
    (b"", False, None, None),
])
def test_bytes(data, known, acs, kind):
    function = decode((0, 1, 0), data)
    assert (function.acs_known, function.acs, function.kind) == (known, acs, kind)
    assert known or function.acs_why
    if data:
        text = one("01:00.0 3D controller: A\n" + rows(data))
        assert (text.acs_known, text.acs, text.kind) == (known, acs, kind)


def test_bytes_win_over_words():
    data = space(4096, express=4, acs=0, header=1, secondary=2)
    function = one("01:00.0 PCI bridge [0604]: A [1234:5678]\n\tBus: primary=00, secondary=09, subordinate=09\n"
                   + EXPRESS + ACS + CTL.format("+", "+", "+", "-") + rows(data))
    assert (function.ids, function.acs, function.secondary, function.kind) == ("10de:2230", 0, 2, PciType.ROOT_PORT)


def test_words_fill_what_256_bytes_do_not_show():
    head = "01:00.0 PCI bridge [0604]: A [10de:2230]\n" + EXPRESS
    function = one(head + ACS + CTL.format("+", "+", "+", "-") + rows(space(256, express=4)))
    assert (function.acs_known, function.acs) == (True, 0x0d)
    assert not one(head + rows(space(256, express=4))).acs_known


def test_a_missing_row_makes_the_rest_unknown():
    lines = rows(space(4096, express=4, acs=0x1d)).splitlines()
    del lines[0x150 // 16]
    function = one("01:00.0 PCI bridge: A\n" + "\n".join(lines))
    assert not function.acs_known
    assert function.kind is PciType.ROOT_PORT


def test_a_loop_of_capabilities_ends():
    data = bytearray(space(4096, express=4))
    data[0x61] = 0x60
    data[0x102:0x104] = (0x100 << 4 | 1).to_bytes(2, "little")
    assert decode((0, 1, 0), bytes(data)).acs_known


def test_none_shown_is_none_where_others_show_theirs():
    listing = read_lspci("01:00.0 3D controller: A\n" + EXPRESS + AER + "\n02:00.0 3D controller: B\n" + EXPRESS)
    assert all(function.acs_known and function.acs is None for function in listing.functions.values())


def test_virtual_functions_of_bytes_and_of_words():
    physfn = "05:00.0 Ethernet controller [0200]: A [15b3:1017]\n" + EXPRESS
    words = ("\tCapabilities: [180 v1] Single Root I/O Virtualization (SR-IOV)\n\t\tIOVCtl:\tEnable+ Migration-\n"
             "\t\tInitial VFs: 8, Total VFs: 8, Number of VFs: 2, Function Dependency Link: 00\n"
             "\t\tVF offset: 256, stride: 1, Device ID: 1018\n")
    bridge = "00:01.0 PCI bridge: P\n\tBus: primary=00, secondary=05, subordinate=06, sec-latency=0\n"
    others = "06:00.0 Ethernet controller: V\n06:00.1 Ethernet controller: V\n06:00.2 Ethernet controller: no V\n"
    for told in (words, rows(space(4096, express=0, acs=0, sriov=(2, 256, 1)))):
        listing = read_lspci("00:00.0 Host bridge: H\n" + bridge + physfn + told + "\n" + others)
        machine = build(listing)
        for devfn in (0, 1):
            vf = machine.devices[0, 6, devfn]
            assert vf.physfn is machine.devices[0, 5, 0]
            assert vf.upstream_bridge is machine.devices[0, 0, 8]
            assert vf.name == f"0000:06:00.{devfn}"
        assert machine.devices[0, 6, 2].physfn is None
        assert "between 0000:00:01.0 and bus 0000:06" in machine.fragments[machine.devices[0, 6, 2].host]
    words = words.replace("Enable+", "Enable-")
    listing = read_lspci("00:00.0 Host bridge: H\n" + bridge + physfn + words + "\n" + others)
    build(listing)
    assert all(function.physfn is None for function in listing.functions.values())


BRIDGE = "0{}:0{}.0 PCI bridge: A\n\tBus: primary=00, secondary={:02x}, subordinate={:02x}, sec-latency=0\n"


@pytest.mark.parametrize(("text", "sentence"), [
    (BRIDGE.format(0, 1, 5, 5) + BRIDGE.format(0, 2, 5, 5), "0000:00:01.0 and 0000:00:02.0 both lead to bus 05"),
    (BRIDGE.format(1, 0, 2, 2) + BRIDGE.format(2, 0, 1, 1), "0000:01:00.0 is below itself"),
    (BRIDGE.format(1, 0, 1, 1), "0000:01:00.0 is below itself"),
    (BRIDGE.format(0, 1, 5, 5) + "-[0000:05]---00.0\n", "bus 0000:05 is a root bus and below 0000:00:01.0"),
])
def test_contradicting_buses(text, sentence):
    with pytest.raises(TopologyError, match=sentence):
        build(read_lspci(text))


def test_contradicting_ids():
    with pytest.raises(TopologyError, match=r"0000:01:00.0 is 10de:2230 in one place and 10de:2231 in another"):
        read_lspci("01:00.0 3D controller: A [10de:2230]\n01:00.0 3D controller: A [10de:2231]\n")


def test_a_report_around_it_does_not_matter():
    text = ("*** report\n0000:01:00.0 is the best\n____\n/usr/bin/lspci -nnvvv\n\n"
            "00:00.0 Host bridge [0600]: A [8086:2020]\n\tCapabilities: [40] PM\n\n"
            "lspci -t\n-[0000:00]-+-00.0\n           \\-01.0-[01]----00.0\nend.\n")
    listing = read_lspci(text)
    assert sorted(listing.functions) == [(0, 0, 0), (0, 0, 8), (0, 1, 0)]
    assert listing.roots == {(0, 0)}
