# SPDX-License-Identifier: MIT
"""A case in three forms that can be pasted: a pytest node, a Python script, and C for the drop-in's headers."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .execute import Result
from .selection import Case
from .timeline import Row

_PAGE = ("page", "offset", "size", "dir", "attrs")


def options(head: Mapping[str, Any], backend: str) -> str:
    """What explain needs, beside a case of this backend, to run it as the run of this results header did."""
    words = []
    if backend in head.get("asked_as", {}):
        words += ["--backend", head["asked_as"][backend]]
    if "driver" in head:
        driver = head["driver"]
        words += [word for path in driver["files"] for word in ("--driver", path)]
        words += ["--cflags", driver["cflags"]] if driver["cflags"] else []
    words += ["--seed", str(head["seed"])] if head["seed"] else []
    words += ["--profile", head["profile"]] if head["profile"] != "quick" else []
    return shlex.join(words)


def explain(head: Mapping[str, Any], result: Result) -> str:
    """The command that runs a case of a results.jsonl again."""
    return f"dma-conformance explain {result.case} {options(head, result.backend)}".rstrip()


def pytest_node(case: Case, name: str, seed: int, profile: str) -> str:
    """The command that runs nothing but this case under pytest."""
    words = ["pytest", "-v", "-p", "conformance.plugin", "--pyargs", "conformance", "--dma-seed", str(seed)]
    if profile != "quick":
        words += ["--dma-profile", profile]
    return shlex.join([*words, "--dma-backend", name, "--dma-case", case.id])


def python_script(case: Case, name: str, seed: int, profile: str, outcome: Result) -> str:
    """A program that runs the check which came to the verdict, prints what happened, and ends with status 0 if the
    verdict is the same again."""
    return f'''\
#!/usr/bin/env python3
"""{case.id}: {outcome.verdict.value}. Exit status 0 if it is so again."""

import sys

from conformance.execute import run_named
from conformance.selection import Case
from conformance.timeline import lines, recording

rows = []
with recording(rows):
    outcome = run_named(Case.parse({case.id!r}), {name!r}, {seed}, {profile!r}, only={outcome.check!r})
print("\\n".join(lines(rows)))
print("verdict:", outcome.verdict.value, outcome.detail)
sys.exit(outcome.verdict.value != {outcome.verdict.value!r})
'''


def c_source(case: Case, rows: Sequence[Row]) -> str:
    """The calls of the last machine of a timeline, with their values, for dma-conformance cflags.

    reproduce(dev) answers 0 if every call answers what it did in the run, else the line that did not. What the check
    did beside the API (bytes in memory, allocations that it made fail, topologies) is not in it; the comment says so.
    """
    last = rows[-1]["machine"] if rows else 0
    mine = [row for row in rows if row["machine"] == last]
    return "\n".join([
        f"/* {case.id}: the {len(mine)} operations on the last machine of the run.",
        " * The API's calls only: what the check did beside it (bytes, allocations made to fail, PCI topologies) is",
        " * not here, and a call that needs it answers otherwise. Build:",
        " *     gcc -shared -fPIC $(dma-conformance cflags) case.c -o case.so",
        f" * and call reproduce(dev) with a device of machine {case.machine} (docs/c.md): 0, or the line that differs.",
        " */",
        "#include <linux/dma-mapping.h>",
        "#include <linux/scatterlist.h>",
        "",
        "int reproduce(struct device *dev);",
        "",
        "int reproduce(struct device *dev)",
        "{",
        *(f"\t{line}" for line in _body(mine)),
        "\treturn 0;",
        "}",
        "",
    ])


def _body(rows: Sequence[Row]) -> Iterator[str]:
    tables: set[int] = set()
    for row in rows:
        sgt = row["args"].get("sgt")
        if isinstance(sgt, dict) and sgt["table"] not in tables and row["op"] in _LISTS:
            if not all(isinstance(entry, list) for entry in sgt["entries"]):
                yield f"/* table {sgt['table']} is too long to be shown */"
                return
            tables.add(sgt["table"])
            yield from _table(sgt["table"], sgt["entries"])
        if row["op"] in _CALLS or row["op"] in _LISTS:
            yield from _call(row)
        else:
            yield f"/* {row['op']} */"


def _table(number: int, entries: Sequence[Sequence[int]]) -> Iterator[str]:
    yield f"struct sg_table t{number};"
    yield f"if (sg_alloc_table(&t{number}, {len(entries)}, GFP_KERNEL))"
    yield "\treturn __LINE__;"
    for i, (page, offset, length) in enumerate(entries):
        yield f"sg_set_page(&t{number}.sgl[{i}], (struct page *){page:#x}UL, {length}, {offset});"


#: Calls of one range: the C name, and its arguments after dev.
_CALLS: dict[str, tuple[str, tuple[str, ...]]] = {
    "dma_map_page": ("dma_map_page_attrs", _PAGE),
    "dma_map_resource": ("dma_map_resource", ("phys", "size", "dir", "attrs")),
    "dma_unmap_page": ("dma_unmap_page_attrs", ("addr", "size", "dir", "attrs")),
    "dma_unmap_resource": ("dma_unmap_resource", ("addr", "size", "dir", "attrs")),
    "dma_sync_single_for_cpu": ("dma_sync_single_for_cpu", ("addr", "size", "dir")),
    "dma_sync_single_for_device": ("dma_sync_single_for_device", ("addr", "size", "dir")),
    "dma_set_mask": ("dma_set_mask", ("mask",)),
    "dma_set_coherent_mask": ("dma_set_coherent_mask", ("mask",)),
    "dma_set_max_seg_size": ("dma_set_max_seg_size", ("size",)),
    "dma_set_seg_boundary": ("dma_set_seg_boundary", ("mask",)),
    "dma_set_min_align_mask": ("dma_set_min_align_mask", ("mask",)),
}
_ANSWER_ADDRESS = ("dma_map_page", "dma_map_resource")
_ANSWER_STATUS = ("dma_set_mask", "dma_set_coherent_mask")
#: Calls of a table: C with {t} for it.
_LISTS = {
    "dma_map_sgtable": "dma_map_sgtable(dev, &{t}, {dir}, {attrs})",
    "dma_map_sg": "dma_map_sg_attrs(dev, {t}.sgl, {t}.orig_nents, {dir}, {attrs})",
    "dma_unmap_sgtable": "dma_unmap_sgtable(dev, &{t}, {dir}, {attrs})",
    "dma_unmap_sg": "dma_unmap_sg_attrs(dev, {t}.sgl, {t}.orig_nents, {dir}, {attrs})",
    "dma_sync_sgtable_for_cpu": "dma_sync_sgtable_for_cpu(dev, &{t}, {dir})",
    "dma_sync_sgtable_for_device": "dma_sync_sgtable_for_device(dev, &{t}, {dir})",
}


def _literal(value: Any) -> str:
    return f"{value:#x}UL" if isinstance(value, int) and value >= 4096 else str(value)


def _call(row: Row) -> Iterator[str]:
    op, args, failed = row["op"], row["args"], "error" in row
    if op in _LISTS:
        sgt = f"t{args['sgt']['table']}"
        call = _LISTS[op].format(t=sgt, dir=args.get("dir", 0), attrs=args.get("attrs", 0))
        if op == "dma_map_sgtable":
            yield f"if ({call} {'==' if failed else '!='} 0)"
            yield "\treturn __LINE__;"
        elif op == "dma_map_sg":
            wrong = "> 0" if failed else f"!= {row.get('result')}"
            yield f"if ({call} {wrong})"
            yield "\treturn __LINE__;"
        else:
            yield f"{call};"
        if op == "dma_map_sgtable" and not failed:
            for i, segment in enumerate(row["result"].get("segments", ())):
                if isinstance(segment, list):
                    yield (f"if (sg_dma_address(&{sgt}.sgl[{i}]) != {_literal(segment[0])} || "
                           f"sg_dma_len(&{sgt}.sgl[{i}]) != {_literal(segment[1])})")
                    yield "\treturn __LINE__;"
        return
    name, keys = _CALLS[op]
    shown = [_literal(args.get(key, 0)) for key in keys]
    if keys[0] == "page":
        shown[0] = f"(struct page *){shown[0]}"
    call = f"{name}({', '.join(['dev', *shown])})"
    if op in _ANSWER_ADDRESS:
        wrong = f"!dma_mapping_error(dev, {call})" if failed else f"{call} != {_literal(row.get('result'))}"
        yield f"if ({wrong})"
        yield "\treturn __LINE__;"
    elif op in _ANSWER_STATUS:
        yield f"if ({call} {'==' if failed else '!='} 0)"
        yield "\treturn __LINE__;"
    else:
        yield f"{call};"
