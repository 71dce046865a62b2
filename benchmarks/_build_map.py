# SPDX-License-Identifier: MIT
"""Compile Linux's mapping code with -O2, each file an object of its own as in the kernel.

Whole files are lib/scatterlist.c, lib/iommu-helper.c, lib/rbtree.c, drivers/iommu/iova.c and
drivers/iommu/io-pgtable-arm.c; of the larger ones those functions are taken, word for word, that a map and an unmap
run through. What they call beyond that (locks, atomics, malloc for pages, the hardware's registers) is the shim's, and
costs less than in a kernel.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from conformance.oracle.build import HERE as ORACLE
from conformance.oracle.build import compiler
from conformance.oracle.source import MissingSource, find
from scatterlist import get_include

from ._build import CFLAGS, HERE, ROOT, cache, digest
from ._extract import extract

C = HERE / "linux_map"
WHOLE = ("lib/scatterlist.c", "lib/iommu-helper.c", "lib/rbtree.c", "drivers/iommu/iova.c",
         "drivers/iommu/io-pgtable-arm.c")
HEADERS = {
    **{f"linux/{name}.h": f"include/linux/{name}.h" for name in (
        "scatterlist", "iova", "iommu-helper", "rbtree", "rbtree_types", "rbtree_augmented", "dma-mapping",
        "dma-direct", "swiotlb", "iommu", "io-pgtable", "sizes")},
    "uapi/linux/iommu.h": "include/uapi/linux/iommu.h",
    "asm/iommu.h": "arch/powerpc/include/asm/iommu.h",
    "direct.h": "kernel/dma/direct.h",
    "io-pgtable-arm.h": "drivers/iommu/io-pgtable-arm.h",
}
NOTHING = (         # headers of which nothing is needed
    "linux/atomic.h", "linux/cache.h", "linux/memblock.h", "linux/memremap.h", "linux/of.h", "linux/ioasid.h",
    "linux/msi.h", "linux/hash.h", "linux/init.h", "linux/export.h", "asm/barrier.h", "asm/machdep.h",
    "asm/pci-bridge.h", "asm/asm-const.h",
)
TAKEN: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "mapping.inc": (("kernel/dma/mapping.c", (
        "dma_go_direct", "dma_map_direct", "__dma_map_sg_attrs", "dma_map_sg_attrs", "dma_unmap_sg_attrs")),),
    "direct.inc": (("kernel/dma/direct.c", ("dma_direct_unmap_sg", "dma_direct_map_sg")),),
    "swiotlb.inc": (("kernel/dma/swiotlb.c", (
        "struct io_tlb_slot", "struct io_tlb_area", "swiotlb_align_offset", "swiotlb_bounce", "slot_addr",
        "get_max_slots", "wrap_area_index", "swiotlb_do_find_slots", "swiotlb_find_slots", "mem_used",
        "swiotlb_tbl_map_single", "swiotlb_release_slots", "swiotlb_tbl_unmap_single",
        "swiotlb_sync_single_for_device", "swiotlb_sync_single_for_cpu", "swiotlb_map", "is_swiotlb_active")),),
    "dma-iommu.inc": (("drivers/iommu/dma-iommu.c", (
        "enum iommu_dma_cookie_type", "struct iommu_dma_cookie", "dev_is_untrusted", "dev_use_swiotlb",
        "dma_info_to_prot", "iommu_dma_alloc_iova", "iommu_dma_free_iova", "__iommu_dma_unmap",
        "iommu_dma_sync_sg_for_cpu", "iommu_dma_sync_sg_for_device", "__finalise_sg", "__invalidate_sg",
        "iommu_dma_map_sg", "iommu_dma_unmap_sg")),),
    "iommu.inc": (("drivers/iommu/iommu.c", (
        "iommu_pgsize", "__iommu_map_pages", "__iommu_unmap_pages", "__iommu_unmap", "iommu_unmap",
        "iommu_unmap_fast", "__iommu_map", "__iommu_map_sg", "iommu_map_sg_atomic", "iommu_get_dma_domain")),),
    "powerpc.inc": (
        ("arch/powerpc/include/asm/tce.h", ("#define TCE_PCI_READ", "#define TCE_PCI_WRITE")),
        ("arch/powerpc/platforms/powernv/pci-ioda-tce.c", ("pnv_pci_setup_iommu_table",)),
        ("arch/powerpc/kernel/iommu.c", (
            "iommu_range_alloc", "iommu_free_check", "get_pool", "__iommu_free", "ppc_iommu_map_sg",
            "ppc_iommu_unmap_sg", "iommu_table_clear", "iommu_table_reserve_pages", "iommu_init_table",
            "iommu_direction_to_tce_perm")),
        ("arch/powerpc/kernel/dma-iommu.c", ("dma_iommu_map_sg", "dma_iommu_unmap_sg")),
    ),
    "pci-ioda-tce.inc": (
        ("arch/powerpc/include/asm/tce.h", ("#define TCE_PCI_READ", "#define TCE_PCI_WRITE")),
        ("arch/powerpc/platforms/powernv/pci-ioda-tce.c", (
            "pnv_alloc_tce_level", "pnv_tce", "pnv_tce_build", "pnv_tce_free"))),
    "bitmap.inc": (("lib/bitmap.c", ("__bitmap_set", "__bitmap_clear", "bitmap_find_next_zero_area_off")),),
}


def build_linux_map(place: Path | None = None) -> Path:
    """The shared library, in a folder of place (default: the cache). Raises MissingSource."""
    source = find("6.1")
    if source is None:
        raise MissingSource("Linux's source is not in /usr/src: install Debian's package linux-source-6.1 "
                            "(apt-get install linux-source-6.1)")
    files = sorted({*WHOLE, *HEADERS.values(), *(name for rows in TAKEN.values() for name, _ in rows)})
    paths = dict(zip(files, source.files(files), strict=True))
    own = [path for folder in (HERE / "shim", C, ORACLE / "shim", Path(get_include()))
           for path in folder.rglob("*.[ch]")]
    folder = (place or cache()) / f"linux-{source.version}-map-{digest([*own, *paths.values(), Path(__file__)])}"
    library = folder / "linux.so"
    if not library.exists():
        _prepare(folder, paths)
        _compile(folder, [*(paths[name] for name in WHOLE), *sorted(C.glob("*.c"))], library)
    return library


def _prepare(folder: Path, paths: dict[str, Path]) -> None:
    for name, file in HEADERS.items():
        link = folder / "include" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(paths[file])
    for name in NOTHING:
        (folder / "nothing" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "nothing" / name).touch()
    for name, rows in TAKEN.items():
        text = "\n".join(extract(paths[file].read_text(), names) for file, names in rows)
        (folder / "include" / name).write_text(text)


def _compile(folder: Path, sources: list[Path], library: Path) -> None:
    places = (C / "shim", C, HERE / "shim", folder / "include", ORACLE / "shim", folder / "nothing", get_include())
    includes = [*(f"-I{place}" for place in places), "-include", "linux/kconfig.h", "-include", "linux/device.h"]
    defines = [f"-DCONFIG_{name}=1" for name in ("IOMMU_IOVA", "IOMMU_API", "PPC64", "DMA_OPS")]
    gcc = compiler()
    objects = []
    for path in sources:
        objects.append(str(folder / f"{path.stem}.o"))
        subprocess.run([gcc, *CFLAGS, "-std=gnu11", "-fPIC", "-w", "-Werror=implicit-function-declaration", *defines,
                        *includes, "-c", str(path), "-o", objects[-1]], check=True)
    subprocess.run([gcc, "-shared", "-Wl,-Bsymbolic", "-Wl,-z,defs", "-o", str(folder / "new.so"), *objects],
                   check=True)
    (folder / "new.so").rename(library)


C_API = {"_abi", "_c_dma", "_c_lists", "c_api", "c_kernel", "c_ops"}
OURS = ("scatterlist", "dma_ops", "arch/generic", "arch/powerpc", "arch/alpha", "arch/sparc")


def build_ours_map() -> Path:
    """A folder with the packages as an installation has them, and dma_ops._benchmark. Only what changed is compiled."""
    folder = cache() / "ours-map"
    wanted = {path: path.relative_to(ROOT) for name in OURS for path in (ROOT / name).rglob("*")
              if path.suffix in (".py", ".pyx", ".pxd", ".h", ".toml") and path.stem not in C_API}
    wanted |= {ROOT / name: Path(name) for name in ("setup.py", "arch/__init__.py", "arch/record.py")}
    wanted[HERE / "ours_map.pyx"] = Path("dma_ops/_benchmark.pyx")
    for path in list(folder.rglob("*.pyx")):
        if path.relative_to(folder) not in wanted.values():
            path.unlink()
    for path, name in wanted.items():
        copy = folder / name
        if not copy.exists() or copy.read_bytes() != path.read_bytes():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    environment = {key: value for key, value in os.environ.items() if key not in ("CFLAGS", "PYTHONPATH")}
    print("compiling our side (map) with -O2: minutes, the first time", file=sys.stderr)
    done = subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=folder, env=environment,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"our side does not compile:\n{done.stdout}\n{done.stderr}")
    return folder
