# SPDX-License-Identifier: MIT
"""C code on the models: a driver written as for the kernel, and Linux's own test of its lists."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import dma_ops
from dma_ops import Device, KernelBug, Machine
from dma_ops._abi import EXPECTED, compiled
from dma_ops.c_api import CObject
from scatterlist import BioVecs, SgTable, get_include
from scatterlist.layout import LAYOUTS

HERE = Path(__file__).parent
GCC = shutil.which("gcc")
pytestmark = pytest.mark.skipif(GCC is None, reason="no C compiler (gcc)")


@pytest.fixture(scope="module")
def compile_c(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    folder = tmp_path_factory.mktemp("c")

    def compiled_object(source: Path | str, *options: str) -> Path:
        target = folder / f"{len(list(folder.iterdir()))}.so"
        if isinstance(source, str):
            text, source = source, target.with_suffix(".c")
            source.write_text(text)
        command = [str(GCC), "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror",
                   f"-I{get_include()}", *options, str(source), "-o", str(target)]
        subprocess.run(command, check=True)
        return target

    return compiled_object


@pytest.fixture(scope="module")
def library(compile_c: Callable[..., Path]) -> Path:
    return compile_c(HERE / "c/driver.c")


@pytest.fixture
def machine() -> Machine:
    return Machine("test", ram=[(0, 256 << 20)])


@pytest.fixture
def driver(library: Path, machine: Machine) -> CObject:
    return CObject(library, machine)


def test_the_compilers_agree_with_the_tables() -> None:
    lists = LAYOUTS["64-dma_length-dma_flags"]
    layout = compiled()
    for name, expected in EXPECTED.items():
        assert layout.pop(name) == expected, name
    assert {name: (lists.sizeof(name), lists.offsets(name)) for name in layout} == layout


def test_generated_files_are_current() -> None:
    program = Path(dma_ops.__file__).with_name("_codegen.py")
    done = subprocess.run([sys.executable, str(program), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_probe_sets_masks_and_limits(driver: CObject, machine: Machine) -> None:
    dev = Device("0000:01:00.0", machine)
    assert driver.call("init_module") == 0
    assert driver.call("probe", dev) == 0
    assert (dev.dma_mask, dev.coherent_dma_mask) == ((1 << 40) - 1, (1 << 40) - 1)
    assert machine.dmesg == ["0000:01:00.0: probed, mask ffffffffff"]
    assert driver.call("coherent", dev) == 0
    assert dev.max_segment_size == 4096
    driver.call("cleanup_module", result="void")
    assert machine.dmesg[-1] == "bye"


@pytest.mark.parametrize("size", [1, 100, 4096, 10000])
def test_the_device_reads_what_c_wrote(driver: CObject, machine: Machine, size: int) -> None:
    dev = Device("nic", machine)
    before = machine.pages_allocated
    addr = driver.call("send", dev, size, 0xA5, result="pointer")
    other = driver.call("send", dev, size, 0x11, result="pointer")
    assert addr and other != addr
    assert dev.dma_read(addr, size) == b"\xa5" * size
    assert len(driver.kernel.allocated) == 4
    assert driver.call("complete_all", dev) == 2
    assert driver.kernel.allocated == {}
    assert machine.pages_allocated <= before + 2               # slabs of the struct's size and of the buffer's


@pytest.mark.parametrize("n", [1, 3, 127, 128, 129, 300])
def test_lists(driver: CObject, machine: Machine, n: int) -> None:
    before = machine.pages_allocated
    assert driver.call("map_list", Device("d", machine, mask=2**64 - 1), n, result="long") == n * 4096
    assert machine.pages_allocated == before


def test_no_entries(driver: CObject, machine: Machine) -> None:
    assert driver.call("map_list", Device("d", machine), 0, result="long") == -22


def test_helpers(driver: CObject, machine: Machine) -> None:
    assert driver.call("copies") == 300
    assert driver.call("splits") == 1 * 1000000 + 2 * 10000 + 28 * 100 + 2
    assert driver.call("own_allocator") == 22                   # 20 entries and two links
    assert driver.call("allocators", result="long") == (4 << 32) + (0xFFFC << 16) + 0xFFFB
    assert driver.call("phys_api", Device("d", machine)) == 0
    assert driver.kernel.allocated == {}


def test_python_lends_its_own(driver: CObject) -> None:
    vecs = BioVecs([(0x10000, 100, 50), (0x20000, 8192, 4000)])
    assert driver.call("bytes_of", vecs, len(vecs)) == 8292 + 4 * 1000000
    table = SgTable([(0x10000, 0, 100), (0x20000, 8, 200)])
    assert driver.call("length_of", table) == 300


def test_the_stack_is_not_mapped(driver: CObject, machine: Machine) -> None:
    assert driver.call("stack", Device("d", machine)) == -12
    assert "virt_addr_valid" in machine.dmesg[0]


@pytest.mark.parametrize(("function", "arguments", "text"), [
    ("buggy", (3,), r"kernel BUG at .*driver\.c:\d+: value == 3"),
    ("bad_direction", (Device,), "valid_dma_direction"),
    ("double_free", (), "kfree of"),
])  # fmt: skip
def test_nothing_runs_after_a_bug(driver: CObject, machine: Machine, function, arguments, text) -> None:
    before = driver.call("buggy", 0)
    with pytest.raises(KernelBug, match=text):
        driver.call(function, *(Device("d", machine) if a is Device else a for a in arguments))
    assert driver.call("buggy", 0) == before + 1


def test_one_object_two_machines(library: Path) -> None:
    machines = [Machine("a"), Machine("b")]
    drivers = [CObject(library, machine) for machine in machines]
    devices = [Device("d", machine) for machine in machines]
    pairs = zip(drivers, devices, strict=True)
    addresses = [driver.call("send", dev, 64, 7, result="pointer") for driver, dev in pairs]
    for dev, addr in zip(devices, addresses, strict=True):
        assert dev.dma_read(addr, 64) == b"\7" * 64
    with pytest.raises(ValueError, match="another machine"):
        drivers[0].call("probe", devices[1])


@pytest.mark.parametrize("shift", [13, 14, 16])
def test_page_sizes(compile_c: Callable[..., Path], shift: int) -> None:
    path = compile_c(HERE / "c/driver.c", f"-DPAGE_SHIFT={shift}")
    with pytest.raises(ValueError, match=f"pages of {1 << shift} bytes"):
        CObject(path, Machine("small"))
    machine = Machine("large", page_shift=shift)
    driver = CObject(path, machine)
    assert driver.call("map_list", Device("d", machine, mask=2**64 - 1), 5, result="long") == 5 << shift
    assert driver.call("copies") == 300


def test_what_is_refused(compile_c: Callable[..., Path], driver: CObject, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        CObject(tmp_path / "nowhere.so")
    with pytest.raises(ValueError, match="headers"):
        CObject(compile_c("int x;\n"))
    wrong = """#include <linux/kernel.h>
        __attribute__((constructor)) static void age(void) { dma_conformance_object.version++; }\n"""
    with pytest.raises(ValueError, match="another version"):
        CObject(compile_c(wrong))
    with pytest.raises(LookupError, match="no symbol nothing"):
        driver.call("nothing")
    with pytest.raises(TypeError, match="at most 8"):
        driver.call("copies", *range(9))
    with pytest.raises(ValueError, match="result"):
        driver.call("copies", result="float")


@pytest.mark.parametrize("version", ["6.1", "6.12"])
def test_linuxs_own_test_of_lists(compile_c: Callable[..., Path], version: str) -> None:
    """tools/testing/scatterlist/main.c, as it is."""
    from conformance.oracle.source import find

    source = find(version)
    if source is None:
        pytest.skip(f"no source of Linux {version} (DMA_CONFORMANCE_LINUX, /usr/src)")
    main = source.file("tools/testing/scatterlist/main.c")
    path = compile_c(main, "-DPAGE_SHIFT=12")
    program = (f"import sys; sys.path = {sys.path!r}\n"
               f"from dma_ops.c_api import CObject\nsys.exit(CObject({str(path)!r}).call('main'))")
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_file_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    text = tmp_path / "driver.so"
    text.write_text("no object\n")
    with pytest.raises(OSError, match=r"driver\.so is no shared object that can be loaded: "):
        CObject(text)
