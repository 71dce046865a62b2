# SPDX-License-Identifier: MIT
from collections.abc import Callable
from typing import Any

from .core import SgTable

def sgl_alloc_order(
    length: int,
    order: int,
    chainable: bool,
    alloc_pages: Callable[[int], int | None],
    free_pages: Callable[[int, int], object] | None = ...,
    **options: Any,
) -> tuple[SgTable | None, int]: ...
def sgl_alloc(
    length: int,
    alloc_pages: Callable[[int], int | None],
    free_pages: Callable[[int, int], object] | None = ...,
    **options: Any,
) -> tuple[SgTable | None, int]: ...
def sgl_free_n_order(
    sgl: SgTable, nents: int, order: int, free_pages: Callable[[int, int], object] | None = ...
) -> None: ...
def sgl_free_order(sgl: SgTable, order: int, free_pages: Callable[[int, int], object] | None = ...) -> None: ...
def sgl_free(sgl: SgTable, free_pages: Callable[[int, int], object] | None = ...) -> None: ...
