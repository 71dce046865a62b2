# SPDX-License-Identifier: MIT
"""Random calls of the whole API with hostile arguments: run as a program, which must end normally."""

import random
import sys
import warnings
from array import array
from typing import Any

import scatterlist as sg
from scatterlist import BioVecs, BvecIter, IovIter, PhysMem, SgEntry, SgTable

NUMBERS = [0, 1, 2, 3, 4, 7, 8, 100, 127, 128, 129, 255, 256, 4095, 4096, 4097, 8192, 65536, 2**31 - 1, 2**31,
           2**32 - 4096, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 4096, 2**64 - 1, 2**64, -1, -4096]
SMALL = [0, 1, 2, 3, 5, 8, 100, 127, 128, 129, 300]
REFUSED = (ValueError, TypeError, OSError, OverflowError, BufferError, IndexError, MemoryError, StopIteration,
           AttributeError)
TAKES_SG = [
    "sg_next", "sg_nents", "sg_is_chain", "sg_is_last", "sg_mark_end", "sg_unmark_end", "sg_page", "sg_phys",
    "sg_virt", "sg_dma_address", "sg_dma_len", "sg_dma_is_bus_address", "sg_dma_mark_bus_address",
    "sg_dma_unmark_bus_address", "sg_dma_is_swiotlb", "sg_dma_mark_swiotlb", "sg_is_pci_p2pdma",
    "sg_mark_pci_p2pdma", "sg_unmark_pci_p2pdma", "sg_is_dma_bus_address", "__sg_flags",
]
TAKES_SG_NUMBER = ["sg_last", "sg_init_table", "sg_init_marker", "for_each_sg", "sg_nents_for_len", "sg_assign_page"]
ALLOC_TABLE = getattr(sg, "__sg_alloc_table")   # a plain attribute would be mangled in a class
FREE_TABLE = getattr(sg, "__sg_free_table")


class Hostile:
    """Objects to play with, and one method for each kind of call."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.tables = [SgTable()]
        self.entries: list[SgEntry] = []
        self.iterators: list[Any] = []
        self.views: list[memoryview] = []
        self.bvecs = [BioVecs([(4096, 100, 0)])]
        self.positions = [BvecIter()]
        self.mem = PhysMem()
        self.done = self.refused = self.depth = 0
        self.calls = [getattr(self, name) for name in sorted(dir(self)) if name.startswith("do_")]

    def step(self) -> None:
        self.depth += 1
        try:
            if self.depth < 5:
                self.random.choice(self.calls)()
        except REFUSED:
            self.refused += 1
        else:
            self.done += 1
        finally:
            self.depth -= 1

    def pick(self, *what: Any) -> Any:
        return self.random.choice(what)

    def number(self) -> int:
        return self.random.choice(NUMBERS)

    def small(self) -> int:
        return self.random.choice(SMALL)

    def size(self) -> int:
        return self.pick(0, 1, 100, 4096, 5000, 70000)

    def keep(self, where: list[Any], what: Any) -> None:
        where.append(what)
        if len(where) > 12:
            del where[self.random.randrange(len(where))]

    def table(self) -> SgTable:
        return self.random.choice(self.tables)

    def sgl(self) -> Any:
        return self.pick(*self.tables, *self.entries, None) if self.random.random() < 0.98 else self.pick(3, "x")

    def rows(self) -> list[tuple[int, int, int]]:
        r = self.random
        return [(self.pick(0, 2**40, 2**64 - 4096, 3) if r.random() < 0.02 else r.randrange(64) * 4096,
                 self.pick(0, 1, 100, 4095, 4096, 9000, 2**32 - 1), self.pick(0, 1, 100, 4096, 70000))
                for _ in range(self.small())]

    def pages(self) -> list[int]:
        at, pages = 1, []
        for _ in range(self.small()):
            at = at + 1 if self.random.random() < 0.7 else self.random.randrange(1 << 20)
            pages.append(at)
        return pages + ([self.pick(2**64 - 1, 2**52, 3)] if self.random.random() < 0.1 else [])

    def do_make(self) -> None:
        chance = self.random.random
        options = {"page_shift": self.pick(12, 12, 13, 16, 11, 40), "dma_length": chance() < 0.7,
                   "chaining": chance() < 0.8, "p2pdma_bit": chance() < 0.5, "max_ents": self.pick(0, 0, 2, 3, 8, 1)}
        flat = array("Q", [x for row in self.rows() for x in row])
        self.keep(self.tables, self.pick(
            lambda: SgTable(None, **options),
            lambda: SgTable(self.rows(), **options),
            lambda: SgTable.from_rows(flat, **options),
            lambda: SgTable.from_rows(flat.tobytes()[self.random.randrange(9):], **options),
            lambda: SgTable.from_pages(self.pages(), offset=self.small(), size=self.pick(None, self.number()),
                                       max_segment=self.number(), pfns=chance() < 0.8, **options),
            lambda: SgTable.__new__(SgTable),
        )())

    def do_again(self) -> None:
        self.table().__init__(self.rows())      # type: ignore[misc]

    def do_free(self) -> None:
        self.pick(sg.sg_free_table, sg.sg_free_append_table, SgTable.free)(self.table())

    def do_alloc(self) -> None:
        sg.sg_alloc_table(self.table(), self.small())

    def do_alloc_with(self) -> None:
        fail = self.random.randrange(6)
        calls = []

        def alloc(n: int) -> bool:
            calls.append(n)
            if self.random.random() < 0.3:
                self.step()
            if fail == 0:
                raise ValueError("no")
            return len(calls) != fail

        ALLOC_TABLE(self.table(), self.small(), self.pick(0, 1, 2, 3, 128), self.pick(None, self.table()),
                    self.small(), self.pick(None, alloc))

    def do_free_with(self) -> None:
        FREE_TABLE(self.table(), self.pick(0, 1, 2, 3, 128), self.small(), lambda n: self.step(),
                   self.pick(None, self.small()))

    def do_append(self) -> None:
        sg.sg_alloc_append_table_from_pages(
            self.table(), self.pages(), self.pick(0, 0, 0, self.number()), self.pick(None, self.number()),
            self.pick(2**32 - 1, 2**32 - 1, 8192, self.number()), self.small(), pfns=self.random.random() < 0.8,
            pgmaps=self.pick((), (), [(0, 4096), (8192, 2**40)], [(self.number(), 1), (1, self.number())]))

    def do_from_pages(self) -> None:
        sg.sg_alloc_table_from_pages_segment(self.table(), self.pages(), self.small(), self.pick(None, self.number()),
                                             self.number(), pfns=self.random.random() < 0.8)

    def do_chained(self) -> None:
        sg.sg_alloc_table_chained(self.table(), self.small(), self.pick(None, self.table()), self.small())

    def do_free_chained(self) -> None:
        sg.sg_free_table_chained(self.table(), self.small())

    def do_sgl(self) -> None:
        answers = [4096, 8192, 0, 3] + [None] * (self.random.random() < 0.1)
        made, _ = sg.sgl_alloc_order(self.number() % 2**26, self.random.randrange(13), self.random.random() < 0.5,
                                     lambda order: self.random.choice(answers))
        if made is not None:
            self.keep(self.tables, made)

    def do_sgl_free(self) -> None:
        sg.sgl_free_n_order(self.table(), self.small(), 0, lambda page, order: self.step())

    def do_counts(self) -> None:
        setattr(self.table(), self.pick("nents", "orig_nents"), self.pick(self.small(), self.number()))

    def do_set_dma(self) -> None:
        self.table().set_dma(self.pick(self.small(), self.number()), self.number(), self.number())

    def do_look(self) -> None:
        table = self.table()
        self.pick(table.entries, table.segments, table.arrays, table.__repr__, table.__len__,
                  lambda: (table.length, table.total_entries))()

    def do_keep_entries(self) -> None:
        for entry in self.table():
            self.keep(self.entries, entry)

    def do_view(self) -> None:
        for view in self.pick(self.table().views(), [memoryview(self.table())]):
            self.keep(self.views, view)

    def do_drop_view(self) -> None:
        if self.views:
            view = self.views.pop(self.random.randrange(len(self.views)))
            view.cast("B").tolist()
            view.release()

    def do_entry(self) -> None:
        if not self.entries:
            return
        entry = self.random.choice(self.entries)
        name = self.pick("offset", "length", "dma_address", "dma_length", "dma_flags", "page_link")
        if self.random.random() < 0.5:
            setattr(entry, name, self.number())
        else:
            _ = (getattr(entry, name), repr(entry), hash(entry), entry == self.sgl())

    def do_sg(self) -> None:
        got = getattr(sg, self.random.choice(TAKES_SG))(self.sgl())
        if isinstance(got, SgEntry):
            self.keep(self.entries, got)

    def do_sg_number(self) -> None:
        getattr(sg, self.random.choice(TAKES_SG_NUMBER))(self.sgl(), self.pick(self.small(), self.number()))

    def do_set(self) -> None:
        which = self.pick(sg.sg_set_page, sg.sg_set_folio)
        which(self.sgl(), self.pick(4096, 2**64 - 4096, self.number()), self.number(), self.number())

    def do_set_buf(self) -> None:
        self.pick(sg.sg_set_buf, sg.sg_init_one)(self.sgl(), self.number(), self.number())

    def do_chain(self) -> None:
        sg.sg_chain(self.sgl(), self.small(), self.table())

    def do_iterate(self) -> None:
        self.keep(self.iterators, self.pick(
            lambda: sg.for_each_sg_page(self.sgl(), self.small(), self.small()),
            lambda: sg.for_each_sg_dma_page(self.sgl(), self.small(), self.number()),
            lambda: sg.for_each_sgtable_page(self.table(), self.small()),
            lambda: sg.for_each_sgtable_dma_page(self.table(), self.small()),
            lambda: sg.sg_miter_start(self.sgl(), self.small(), self.random.randrange(16)),
        )())

    def do_iterator(self) -> None:
        if not self.iterators:
            return
        it = self.random.choice(self.iterators)
        if isinstance(it, sg.SgMappingIter):
            self.pick(it.__next__, it.next, it.stop, lambda: it.skip(self.pick(self.size(), -1, -2**63)),
                      lambda: setattr(it, "consumed", self.pick(0, 1, self.number())))()
            _ = (it.page, it.addr, it.length)
        else:
            _ = (next(it), it.sg, it.sg_pgoffset)

    def do_copy(self) -> None:
        buffer = self.pick(bytearray(self.size()), bytes(self.size()), array("Q", [1, 2]), b"", 5)
        skip = self.pick(0, 0, 1, 5000, -1, 2**20)
        length = self.pick(None, None, self.small(), self.number())
        base = self.mem, self.sgl(), self.small()
        self.pick(
            lambda: sg.sg_copy_to_buffer(*base, buffer, length),
            lambda: sg.sg_copy_from_buffer(*base, buffer, length),
            lambda: sg.sg_pcopy_to_buffer(*base, buffer, length, skip),
            lambda: sg.sg_pcopy_from_buffer(*base, buffer, length, skip),
            lambda: sg.sg_copy_buffer(*base, buffer, length, skip, self.pick(True, False)),
            lambda: sg.sg_zero_buffer(*base, self.size(), skip),
        )()

    def do_split(self) -> None:
        out, _ = sg.sg_split(self.sgl(), self.pick(0, 0, self.small(), -1), self.pick(0, 0, 100, -1),
                             [self.size() for _ in range(self.random.randrange(5))])
        for table in out[:3]:
            self.keep(self.tables, table)

    def do_extract(self) -> None:
        rows = [(self.pick(4096, 2**40, 3), self.size()) for _ in range(self.random.randrange(5))]
        it = IovIter(self.pick(rows, BioVecs([(page, n, 0) for page, n in rows])), iov_offset=self.small())
        for _ in range(3):
            sg.extract_iter_to_sg(it, self.number(), self.table(), self.pick(self.small(), self.number()))

    def do_bvec(self) -> None:
        bvecs, it = self.random.choice(self.bvecs), self.random.choice(self.positions)
        rows = [(page, length, offset) for page, offset, length in self.rows()[:9]]
        i, n = self.pick(self.small(), self.number()), self.pick(self.small(), self.number())
        self.pick(
            lambda: self.keep(self.bvecs, BioVecs(rows)),
            lambda: self.keep(self.bvecs, BioVecs.__new__(BioVecs)),
            lambda: bvecs.__init__(rows),       # type: ignore[misc]
            lambda: self.keep(self.positions, BvecIter(self.number(), self.small(), self.number(), self.number())),
            lambda: sg.bvec_iter_advance(bvecs, it, n),
            lambda: sg.bvec_iter_advance_single(bvecs, it, n),
            lambda: list(zip(range(50), sg.for_each_bvec(bvecs, it), strict=False)),
            lambda: list(zip(range(50), sg.bvec_advance_all(bvecs), strict=False)),
            lambda: sg.bvec_iter_bvec(bvecs, it),
            lambda: sg.mp_bvec_iter_bvec(bvecs, it),
            lambda: sg.mp_bvec_iter_page_idx(bvecs, it),
            lambda: sg.bvec_set_page(bvecs, i, self.number(), n, self.number()),
            lambda: sg.bvec_set_folio(bvecs, i, self.number(), n, self.number()),
            lambda: sg.memcpy_from_bvec(self.mem, bvecs, i),
            lambda: sg.memcpy_to_bvec(self.mem, bvecs, i, b"x" * 4096),
            lambda: sg.memzero_bvec(self.mem, bvecs, i),
            lambda: (memoryview(bvecs).cast("B").tolist(), bvecs.rows(), sg.bvec_to_phys_vec(bvecs)),
        )()


def main(steps: int, seed: int) -> None:
    warnings.simplefilter("ignore")
    hostile = Hostile(seed)
    while hostile.done + hostile.refused < steps:
        hostile.step()
    print(hostile.done, hostile.refused)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
