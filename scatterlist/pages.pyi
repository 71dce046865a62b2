# SPDX-License-Identifier: MIT
from collections.abc import Sequence

from ._types import Pages
from .core import SgTable

def sg_alloc_append_table_from_pages_(
    sgt: SgTable,
    pages: Pages,
    offset: int = ...,
    size: int | None = ...,
    max_segment: int = ...,
    left_pages: int = ...,
    *,
    pfns: bool = ...,
    pgmaps: Sequence[tuple[int, int]] = ...,
) -> None: ...
def sg_alloc_table_from_pages_segment_(
    sgt: SgTable,
    pages: Pages,
    offset: int = ...,
    size: int | None = ...,
    max_segment: int = ...,
    *,
    pfns: bool = ...,
    pgmaps: Sequence[tuple[int, int]] = ...,
) -> None: ...
def sg_alloc_table_from_pages_(
    sgt: SgTable,
    pages: Pages,
    offset: int = ...,
    size: int | None = ...,
    *,
    pfns: bool = ...,
    pgmaps: Sequence[tuple[int, int]] = ...,
) -> None: ...
