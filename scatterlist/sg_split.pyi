# SPDX-License-Identifier: MIT
from collections.abc import Iterable

from .core import SgTable
from .entry import SgEntry

def sg_split_(
    sgl: SgTable | SgEntry, in_mapped_nents: int, skip: int, sizes: Iterable[int]
) -> tuple[list[SgTable], list[int]]: ...
