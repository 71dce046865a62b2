# SPDX-License-Identifier: MIT
"""sysfs: a copied directory, one with links as the kernel has it, and a tar archive."""

import io
import tarfile

import pytest

from conformance.topology import TopologyError, build, read_sources

CLASSES = {"0000:00:00.0": "0x060000", "0000:00:01.0": "0x060400", "0000:01:00.0": "0x030200",
           "0000:01:00.4": "0x030200"}


def space(name, size):
    data = bytearray(size)
    data[0:4] = b"\xde\x10\x30\x22"
    if name == "0000:00:01.0":
        data[0x0e], data[0x19], data[0x1a] = 1, 1, 1
    if name == "0000:01:00.4":
        data[0:4] = b"\xff\xff\xff\xff"         # a virtual function has its ids from the physical one
    data[0x06], data[0x34] = 0x10, 0x60
    if size > 0x100:
        data[0x60], data[0x62] = 0x10, 0x42 if name.startswith("0000:00") else 0x02
        data[0x100:0x108] = b"\x0d\x00\x01\x00\x00\x00\x1d\x00"
    return bytes(data)


def files(size=4096):
    """{path below /sys: content}"""
    found = {}
    for name, code in CLASSES.items():
        above = "0000:00:01.0/" if name.startswith("0000:01") else ""
        place = f"devices/pci0000:00/{above}{name}"
        found |= {f"{place}/config": space(name, size), f"{place}/vendor": b"0x10de\n", f"{place}/device": b"0x2230\n",
                  f"{place}/class": code.encode() + b"\n"}
    return found


@pytest.fixture
def tree(tmp_path):
    def make(size=4096):
        for name, content in files(size).items():
            path = tmp_path / "sys" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        (tmp_path / "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.4/physfn").symlink_to("../0000:01:00.0")
        return tmp_path / "sys"

    return make


def check(listing):
    assert sorted(listing.functions) == [(0, 0, 0), (0, 0, 8), (0, 1, 0), (0, 1, 4)]
    assert listing.roots == {(0, 0)}
    machine = build(listing)
    port, gpu, vf = (machine.devices[at] for at in ((0, 0, 8), (0, 1, 0), (0, 1, 4)))
    assert (gpu.parent, vf.physfn, vf.upstream_bridge) == (port, gpu, port)
    assert machine.functions[0, 1, 0].class_code == 0x0302
    for dev in (port, gpu, vf):
        assert (dev.vendor, dev.device, dev.acs) == (0x10de, 0x2230, 0x1d)


def test_directory(tree):
    check(read_sources([tree()]))


def test_directory_with_the_kernels_links(tree):
    top = tree()
    index = top / "bus/pci/devices"
    index.mkdir(parents=True)
    for config in list(top.glob("devices/**/config")):
        (index / config.parent.name).symlink_to(config.parent)
    check(read_sources([top]))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_tar(tmp_path, mode):
    path = tmp_path / "sys.tar"
    with tarfile.open(path, mode) as archive:
        for name, content in files().items():
            member = tarfile.TarInfo(f"./sys/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("./sys/devices/pci0000:00/0000:00:01.0/0000:01:00.4/physfn")
        link.type, link.linkname = tarfile.SYMTYPE, "../0000:01:00.0"
        archive.addfile(link)
    check(read_sources([path]))
    data = path.read_bytes()
    path.write_bytes(data[:len(data) // 2])
    with pytest.raises(TopologyError, match=r"archive|no PCI function") as caught:
        check(read_sources([path]))
    assert "\n" not in str(caught.value)


def test_without_root_acs_is_unknown(tree):
    functions = read_sources([tree(64)]).functions.values()
    assert [function.acs_known for function in functions] == [False] * 4
    assert all("root" in function.acs_why for function in functions)


def test_flat_copy_has_the_buses_from_the_bytes(tmp_path):
    for name in CLASSES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config").write_bytes(space(name, 4096))
    machine = build(read_sources([tmp_path]))
    assert machine.devices[0, 1, 0].parent is machine.devices[0, 0, 8]


def test_nothing_there(tmp_path):
    with pytest.raises(TopologyError, match="has no PCI function"):
        read_sources([tmp_path])
    with pytest.raises(TopologyError, match="No such file"):
        read_sources([tmp_path / "none"])
