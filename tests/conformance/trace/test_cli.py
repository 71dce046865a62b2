# SPDX-License-Identifier: MIT
"""The trace command: its exit statuses, its sentences, its JSON, and what it costs."""

import gzip
import io
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

import conformance
from conformance.cli import main
from conformance.trace.cli import choose, examine
from conformance.trace.events import EVENTS, TraceError
from conformance.trace.replay import Scenario

DATA = Path(__file__).parent / "data"
EXAMPLE = Path(__file__).resolve().parents[3] / "examples/trace/e1000e.trace.gz"
SCHEMA = json.loads((Path(conformance.__file__).parent / "schemas/trace.schema.json").read_text(encoding="utf-8"))
LEAK = ("  dd-1  [000] d..1.     1.500000: dma_map_page: 0000:01:00.0 dir=TO_DEVICE dma_addr=1000 size=64 "
        "phys_addr=5000 attrs=\n")


def run(*words, data=None):
    done = CliRunner().invoke(main, ["trace", *map(str, words)], input=data)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def written(tmp_path, content, name="trace"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_recorded_driver_is_right():
    done = run(EXAMPLE)
    assert done.exit_code == 0
    assert "2628 dma:* events of 1 device in 13.245 s; 51 other events, 39 comment lines" in done.output
    assert "no findings: everything that was mapped was unmapped" in done.output


def test_findings(tmp_path):
    done = run(written(tmp_path, LEAK))
    assert done.exit_code == 1
    assert "line 1: dma_map_page: DMA-API: 0000:01:00.0: device driver has pending DMA allocations" in done.output
    assert "1 × leak" in done.output
    assert run(written(tmp_path, LEAK), "--running").exit_code == 0


def test_findings_that_are_not_shown(tmp_path):
    text = "".join(LEAK.replace("01:00.0", f"{i:02x}:00.0") for i in range(30))
    done = run(written(tmp_path, text), "--max-show", 3)
    assert done.output.count("pending DMA") == 3 and "… and 27 more" in done.output


@pytest.mark.parametrize(("content", "said"), [
    ("", "is empty"),
    ("hello\nworld\n", "no dma:* event in 2 lines: this is no ftrace text"),
    ("# tracer: nop\n  dd-1 [000] d..1. 1.5: sched_switch: prev_comm=x\n", "only 1 other events: enable events/dma"),
    (LEAK.replace("TO_DEVICE", "UP"), "can be read; line 1 begins as one"),
    (b"\x17\x08\x44tracing6\0\0\0", "trace-cmd report"),
    (b"PERFILE2\0\0\0\0", "perf script"),
    (gzip.compress(LEAK.encode() * 50, mtime=0)[:-9], "the gzip data breaks off or is damaged"),
    (b"\x1f\x8b\x08\0garbage that is no deflate stream", "the gzip data breaks off or is damaged"),
    (bytes(range(256)) * 100, "no dma:* event"),
])
def test_bad_input_is_one_sentence(tmp_path, content, said):
    done = run(written(tmp_path, content))
    assert done.exit_code == 2
    assert said in done.output and done.output.startswith("Error: ") and done.output.count("\n") == 1


@pytest.mark.parametrize(("words", "said"), [
    (["/nonexistent/trace"], "No such file"),
    ([DATA], "directory"),
    ([EXAMPLE, "--backend", "alpha"], "there is no backend 'alpha'"),
    ([EXAMPLE, "--backend", "dma_direct", "--machine", "x86-64"], "did you mean x86_64"),
    ([EXAMPLE, "--machine", "x86_64"], "name a --backend"),
    ([EXAMPLE, "--swiotlb", "force"], "name a --backend"),
    ([EXAMPLE, "--mask", "65"], "65"),
    ([EXAMPLE, "--device", "0000:00:99.0"], "no device is called"),
    ([EXAMPLE, "--out", "/dev/null/x"], "/dev/null"),
])
def test_bad_options(words, said):
    done = run(*words)
    assert done.exit_code == 2 and said in done.output


def test_standard_input():
    plain = gzip.decompress(EXAMPLE.read_bytes())
    for data in (plain, EXAMPLE.read_bytes()):
        done = run("-", data=data)
        assert done.exit_code == 0 and "2628 dma:* events" in done.output


def test_json(tmp_path):
    done = run(DATA / "sata-intel.trace.gz", "-b", "dma_direct", "-b", "iommu_d*", "--machine", "*6*", "--mask", 32,
               "--json", "--out", tmp_path / "new")
    whole = json.loads(done.stdout)
    jsonschema.validate(whole, SCHEMA)
    assert whole == json.loads((tmp_path / "new/trace.json").read_text(encoding="utf-8"))
    assert whole["scenario"] == {"mask_bits": 32, "swiotlb": None, "p2p": None}
    assert {replay["machine"] for replay in whole["replays"]} >= {"x86_64-force", "arm64-64k", "smmuv3-64k"}
    counted = whole["input"]
    text = gzip.decompress((DATA / "sata-intel.trace.gz").read_bytes()).decode()
    assert counted["lines"] == len(text.splitlines())
    assert counted["lines"] == (sum(counted["events"].values()) + sum(counted["other_events"].values())
                                + counted["comment_lines"])
    assert counted["other_events"]["tracing_mark_write"] == text.count(": tracing_mark_write: ")


def test_json_of_findings(tmp_path):
    done = run(written(tmp_path, "CPU:1 [LOST 5 EVENTS]\nnonsense\n" + LEAK.replace("64 ", "x ") + LEAK), "--json")
    whole = json.loads(done.stdout)
    jsonschema.validate(whole, SCHEMA)
    assert whole["check"]["findings"][0]["certain"] is False
    counted = whole["input"]
    assert (counted["lost_events"], counted["unknown_lines"], counted["damaged_events"]) == (5, 1, 1)
    assert counted["first_damaged"]["line"] == 3


def test_the_mask_of_a_check(tmp_path):
    done = run(EXAMPLE, "--mask", 24)
    assert done.exit_code == 1 and "overflow (mask ffffff)" in done.output
    assert run(EXAMPLE, "--mask", 30).exit_code == 0


#: How a line is printed: (its head for a time in seconds, the function's name, are arrays decimal numbers?). What
#: trace-cmd has from libtraceevent: no braces, and whole microseconds up to the first second.
SPELLINGS = {
    "tracefs": ("  dd-7       [001] d..1.   {0:11.6f}: ", "{}: ", False),
    "tracefs-no-irq-info": ("  dd-7       [001]  {0:11.6f}: ", "{}: ", False),
    "trace-cmd": ("              dd-7     [001]    {0:11.6f}: ", "{:21}", True),
    "trace-cmd-latency": ("      dd-7       1d..1.   {0:11.6f}: ", "{:21}", True),
    "trace-cmd-flags": ("              dd-7     [001] d..1.   {0:11.6f}: ", "{:21}", True),
    "trace-cmd-nanoseconds": ("              dd-7     [001]    {0:15.9f}: ", "{:21}", True),
    "trace-cmd-differences": ("              dd-7     [001]    {0:11.6f}: (+1000)  ", "{:21}", True),
    "trace-cmd-first-difference": ("              dd-7     [001]    {0:11.6f}:          ", "{:21}", True),
    "trace-cmd-first-second": ("              dd-7     [001]    {1:12d}: ", "{:21}", True),
    "perf": ("              dd     7 [001] {0:12.6f}: ", "{:>27} ", True),
    "perf-pid-tid": ("              dd     7/7     [001] {0:12.6f}: ", "{:>27} ", True),
    "perf-nanoseconds": ("              dd     7 [001] {0:12.9f}: ", "{:>27} ", True),
    "perf-no-cpu": ("              dd     7 {0:12.6f}: ", "{:>27} ", True),
}
WORK = (
    ("dma_alloc", "dir=BIDIRECTIONAL dma_addr=b000 size=300 virt_addr=00000000cae0a014 flags=GFP_DMA|__GFP_ZERO "
     "attrs="),
    ("dma_map_page", "dir=TO_DEVICE dma_addr=2000 size=64 phys_addr=2000 attrs=SKIP_CPU_SYNC|NO_WARN"),
    ("dma_map_sg", "dir=FROM_DEVICE dma_addrs={0x1000,0x3000} sizes={0x10,0x20} phys_addrs={0x5000,0x7000} attrs="),
    ("dma_sync_sg_for_cpu", "dir=FROM_DEVICE dma_addrs={0x1000,0x3000} sizes={0x10,0x20}"),
    ("dma_unmap_sg", "dir=FROM_DEVICE phys_addrs={0x5000,0x7000} attrs="),
    ("dma_unmap_page", "dir=TO_DEVICE dma_addr=2000 size=64 attrs=SKIP_CPU_SYNC|NO_WARN"),
    ("dma_free", "dir=BIDIRECTIONAL dma_addr=b000 size=300 virt_addr=00000000cae0a014 attrs="),
)


def spelt(head, name, decimal, work=WORK):
    """The work as a tool prints it, from 0.1 s on, an event each millisecond."""
    lines = ["cpus=2"]
    for i, (event, told) in enumerate(work):
        fields = told
        if decimal:
            fields = re.sub(r"\{(.*?)\}", lambda found: " ".join(str(int(x, 0)) for x in found[1].split(",")), told)
        called = name.format(f"dma:{event}:" if ">" in name else f"{event}:" if ":2" in name else event)
        lines.append(f"{head.format(0.1 + i / 1000, 100_000 + i * 1000)}{called}0000:01:00.0 {fields}")
    return "\n".join([*lines, ""])


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_trace_cmd_and_perf_print_the_same(tmp_path, spelling):
    whole = json.loads(run(written(tmp_path, spelt(*spelling)), "-b", "dma_direct", "--json").stdout)
    wanted = json.loads(run(written(tmp_path, spelt(*SPELLINGS["tracefs"])), "-b", "dma_direct", "--json").stdout)
    assert whole == wanted
    assert wanted["input"]["events"] == {name: 1 for name, _ in WORK}
    assert wanted["input"]["seconds"] == 0.006 and not wanted["check"]["findings"]
    assert wanted["replays"][0]["mapped_bytes"] == 48 + 64 + 300


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_a_finding_names_the_task(tmp_path, spelling):
    """A second unmap; and another event, that tells of one of these, is another one."""
    text = spelt(*spelling, work=(WORK[1], WORK[5], WORK[5], ("sched_switch", "prev_comm=dd: dma_map_page: x")))
    done = run(written(tmp_path, text))
    assert done.exit_code == 1 and "tries to free DMA memory it has not allocated" in done.output
    assert "3 dma:* events of 1 device" in done.output
    assert "; 1 other event," in done.output and "uncertain" not in done.output
    assert ("[dd-7]" in done.output) == (spelling is not SPELLINGS["perf-no-cpu"])


@pytest.mark.parametrize("fields", [
    "device=0000:00:06.0 phys_addr=194748920 dma_addr=194748920 size=16 dir=1 attrs=0x0",
    "[FAILED TO PARSE] device=0000:00:06.0 phys_addr=194748920 dma_addr=194748920 size=16 dir=1 attrs=0x0",
], ids=["raw", "failed-to-parse"])
def test_raw_fields_are_one_sentence(tmp_path, fields):
    done = run(written(tmp_path, f"cpus=1\n  dd-7  [000]     5.000000: dma_map_page:         {fields}\n"))
    assert done.exit_code == 2 and "line 2 has the event's raw fields" in done.output and "without -R" in done.output


def mutate(rnd, lines):
    """One to three changes of a trace: of its lines, of a line's words, of its bytes."""
    lines = list(lines)
    for _ in range(rnd.randrange(1, 4)):
        at = rnd.randrange(len(lines))
        words = lines[at].split(b" ")
        change = rnd.randrange(10)
        if change == 0:
            del lines[at]
        elif change == 1:
            lines.insert(rnd.randrange(len(lines)), lines[at])
        elif change == 2:
            lines[at] = lines[at][: rnd.randrange(len(lines[at]) + 1)]
        elif change == 3:
            words[rnd.randrange(len(words))] = rnd.choice(
                (b"", b"size=0", b"size=18446744073709551616", b"dma_addr=ffffffffffffffff", b"nents=0/0", b"sizes={}",
                 b"ents=4294967296/4294967296", b"dir=NONE", b"size=-1", b"phys_addrs={0x10000000000000000}",
                 b"dma_addrs={0xffffffffffffffff}", b"sizes={0x0}", b"\0", "\u0664".encode(),
                 b"size=9223372036854775807"))
            lines[at] = b" ".join(words)
        elif change == 4:
            rnd.shuffle(words)
            lines[at] = b" ".join(words)
        elif change == 5:
            other = rnd.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        elif change == 6 and lines[at]:
            raw = bytearray(lines[at])
            raw[rnd.randrange(len(raw))] = rnd.randrange(256)
            lines[at] = bytes(raw)
        elif change == 7:
            for name in rnd.sample(sorted(EVENTS), 3):
                lines[at] = lines[at].replace(name.encode(), rnd.choice(sorted(EVENTS)).encode())
        elif change == 8:
            lines[at] = lines[at].replace(rnd.choice((b"0", b"1", b"f", b"=")), rnd.choice((b"9", b"", b"ffff")))
        else:
            lines[at] += lines[rnd.randrange(len(lines))]
    return b"\n".join(lines)


def mutations(count, workload, tmp_path):
    """What each of many mutated traces ends with, by exit status. One in 20 is replayed; one in 20 goes through the
    command line, the others through what it calls."""
    rnd = random.Random(20)
    lines = gzip.decompress((DATA / "sata-intel.trace.gz").read_bytes()).splitlines()
    kept = [line for line in lines if len(line) < 400]
    recorded = kept[:2] + [line for line in kept if b": dma_" in line][:40]
    made = "".join(workload(3, live=6).lines(40)).encode().splitlines()
    path, seen = tmp_path / "trace", Counter()
    names = ["dma_direct", "iommu_dma_ops", "alpha_pci_ops", "sun4u_dma_ops", "xen_swiotlb_dma_ops", "dma_iommu_ops"]
    for i in range(count):
        content = mutate(rnd, made if i % 2 else recorded)
        if i % 50 == 0:
            packed = bytearray(gzip.compress(content))
            packed[rnd.randrange(len(packed))] ^= 1 << rnd.randrange(8)
            content = bytes(packed)
        backends = [names[i // 20 % len(names)]] if i % 20 < 2 else []
        if i % 20 in (0, 9):
            path.write_bytes(content)
            done = run(path, *(word for name in backends for word in ("-b", name)))
            status = done.exit_code
            assert "Traceback" not in done.output
            assert status != 2 or (done.output.startswith("Error: ") and done.output.count("\n") == 1), i
            assert status != 1 or "DMA-API: " in done.output
        else:
            try:
                _, history, _ = examine(io.BytesIO(content), "trace", choose(tuple(backends), None) if backends else [],
                                        Scenario())
            except TraceError as error:
                status = 2
                assert "\n" not in str(error)
            else:
                status = 1 if history.counts else 0
        seen[status] += 1
    assert set(seen) <= {0, 1, 2}
    return seen


def test_mutations(workload, tmp_path):
    seen = mutations(1000, workload, tmp_path)
    assert seen[1] > 300 and seen[0] > 30 and seen[2] > 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_mutations(workload, tmp_path):
    assert mutations(100_000, workload, tmp_path).total() == 100_000


def measured(words, lines):
    """Run the command as a process of its own on these lines: (status, output, seconds of CPU, peak RSS in MiB)."""
    code = ("import resource, sys\nfrom conformance.cli import main\n"
            "try:\n    main(sys.argv[1:])\nfinally:\n"
            "    used = resource.getrusage(resource.RUSAGE_SELF)\n"
            "    print('USED', used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, file=sys.stderr)\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, "-P", "-c", code, "trace", *words], stdin=subprocess.PIPE, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as child:
        child.stdin.writelines(lines)
        output, errors = child.communicate()
    cpu, rss = errors.split("USED ")[1].split()
    return child.returncode, output, float(cpu), float(rss)


def test_memory_does_not_grow_with_the_file(workload):
    few = measured(["-", "-b", "dma_direct"], workload().lines(2_000))
    many = measured(["-", "-b", "dma_direct"], workload().lines(20_000))
    assert few[0] == many[0] == 0
    assert many[3] < few[3] + 12, "MiB"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_million_events(workload):
    begun = time.monotonic()
    status, output, cpu, rss = measured(["-", "-b", "iommu_dma_ops"], workload().lines(1_000_000))
    print(f"\n{cpu:.1f} s of CPU, {time.monotonic() - begun:.1f} s in all, {rss:.0f} MiB")
    assert status == 0 and "1000000 dma:* events" in output
    assert cpu < 60 and rss < 120
