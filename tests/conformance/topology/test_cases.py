# SPDX-License-Identifier: MIT
"""The verdicts that people saw in public, from a listing written as their machines would have printed it."""

import json
import re
from pathlib import Path

import pytest

from conformance.topology import build, judge
from conformance.topology.cpu import OTHER
from conformance.topology.lspci import read_lspci

DATA = Path(__file__).parent / "data/cases"
CASES = {path.stem: json.loads(path.read_text()) for path in sorted(DATA.glob("*.json"))}
WITH_PATHS = {name: case for name, case in CASES.items() if case["path_provider"] and "Thunderbolt" not in str(case)}
PLATFORMS = sorted(set(CASES) - set(WITH_PATHS) - {"16-radeon-vii-thunderbolt-pair"})

ADDRESS = re.compile(r"([0-9a-f]{4,5}):([0-9a-f]{2}):([0-9a-fx]{2})\.([0-7])")
IDS = re.compile(r"\b([0-9a-f]{4}):([0-9a-f]{4})\b(?!:)")
ACS_WORDS = ("SrcValid", "TransBlk", "ReqRedir", "CmpltRedir", "UpstreamFwd", "EgressCtrl", "DirectTrans")


def nodes(path):
    """(address, ids or None, note) of each entry from the endpoint up; what the source does not give is made up."""
    made = []
    for entry in path:
        if match := ADDRESS.match(entry):
            address = match[0].replace("xx", "01")
        elif "root port" in entry:
            address = "0000:00:01.0" if "port A" in entry else "0000:00:02.0"
        else:
            below = int(ADDRESS.match(made[-1][0])[2], 16)
            address = f"0000:{below - 1:02x}:00.0"
        ids = IDS.search(entry[12:])
        made.append((address, f"{ids[1]}:{ids[2]}" if ids else "abcd:0001", entry))
    return made


def acs_lines(case, address):
    """The capability as `lspci -vvv` shows it: unknown is what lspci cannot read without root."""
    value = case["acs"].get(address, case["acs"].get("all", "no redirect reported"))
    if value.startswith("unknown") or value.startswith("not captured"):
        return ["\tCapabilities: <access denied>"]
    lines = ["\tCapabilities: [40] Express (v2) {kind}, MSI 00", "\tCapabilities: [100 v1] Advanced Error Reporting"]
    if value.startswith("no"):
        return lines
    control = int(value, 16) if value.startswith("0x") else 0x1d
    words = " ".join(word + "-+"[control >> bit & 1] for bit, word in enumerate(ACS_WORDS))
    return [*lines, "\tCapabilities: [150 v1] Access Control Services", "\t\tACSCap:\tSrcValid+ TransBlk+ ReqRedir+",
            f"\t\tACSCtl:\t{words}"]


def listing_of(case):
    """`lspci -Dnnvvv` of the machine. Where the two paths meet, a root port is put above; else they end at theirs."""
    paths = [nodes(case["path_provider"]), nodes(case["path_client"])]
    found = {}                              # address: (ids, bus below)
    for path in paths:
        below = None
        for address, ids, _ in path:
            found.setdefault(address, (ids, below))
            below = address[-7:-5]
    tops = {path[-1][0] for path in paths}
    meet = len(tops) == 1
    if meet:
        found["0000:00:1e.0"] = ("abcd:0002", paths[0][-1][0][-7:-5])
    roots = {"0000:00:"} if meet else {address[:-4] for address in tops}
    for host in case["host_bridges"]:
        if ADDRESS.match(host["bdf"]):
            found.setdefault(host["bdf"], (host["id"] if IDS.match(host["id"]) else None, None))
    for root in roots:
        if not any(address.startswith(root) for address, (_, below) in found.items() if below is None):
            found.setdefault(f"{root}00.0" if root != "10000:00:" else "10000:00:02.0", (None, None))
    lines = []
    for address, (ids, below) in sorted(found.items()):
        on_root = address[:-4] in roots
        host = on_root and address.endswith("00.0")
        word = "PCI bridge [0604]" if below else "Host bridge [0600]" if host else "3D controller [0302]"
        kind = ("Root Port (Slot+)" if on_root else "Downstream Port (Slot+)") if below else "Endpoint"
        lines.append(f"{address} {word}: A Thing" + (f" [{ids}]" if ids else ""))
        if below:
            lines.append(f"\tBus: primary={address[-7:-5]}, secondary={below}, subordinate=ff, sec-latency=0")
        lines += [line.format(kind=kind) for line in acs_lines(case, address)] + [""]
    return "\n".join(lines)


def verdict_of(case):
    family, vendor = case["cpu"]["family"], case["cpu"]["vendor"]
    cpu = None if family is None and vendor == "not given" else (vendor, family or 0) if family else OTHER
    extra = [(*(int(part, 16) for part in row.split(":")), 0) for row in case.get("extra_whitelist", ())]
    machine = build(read_lspci(listing_of(case)), cpu=cpu, allowed_bridges=extra)
    pair = [next(dev for dev in machine.devices.values() if dev.name == case[end]) for end in ("provider", "client")]
    return judge(machine, [pair])[0]


def test_there_are_cases():
    assert len(CASES) == 19
    assert len(WITH_PATHS) == 15


@pytest.mark.parametrize("name", WITH_PATHS)
def test_recorded_verdict(name):
    case = WITH_PATHS[name]
    recorded = case["verdict"]
    verdict = verdict_of(case)
    assert verdict.hops == recorded["distance_by_rule"]
    if verdict.map_type == "UNKNOWN":
        # the source does not give the CPU or the host bridge
        assert any("not given" in str(fact) for fact in (case["cpu"], case["host_bridges"]))
        assert recorded["map_type"] in {kind for kind, _ in verdict.answers.values()}
        return
    assert verdict.map_type == recorded["map_type"]
    if recorded["distance"] is not None:
        assert verdict.distance == recorded["distance"]


def test_only_gaps_of_the_source_are_unknown():
    unknown = {name for name, case in WITH_PATHS.items() if verdict_of(case).map_type == "UNKNOWN"}
    assert unknown == {"09-arc-b70-b50-cross-root-port", "10-arc-b580-b50-cross-root-port-reversed",
                       "15-amdgpu-acs-list-4-ports"}


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "disable_acs_redir_list" in case])
def test_the_list_of_ports_is_the_kernels(name):
    assert verdict_of(CASES[name]).disable_acs_redir == f"pci=disable_acs_redir={CASES[name]['disable_acs_redir_list']}"


# platform statements: (first function of the root bus, PCIe type, kernel, in the list)
STATEMENTS = {
    "18-skylake-e-port-c-only": [("02.0", "8086:2032", "Root Port (Slot+)", "6.1", True)],
    "23-xeon-icx-09a2": [("00.0", "8086:09a2", "Root Complex Integrated Endpoint", "6.1", True)],
    "24-xeon-spr-accelerator-root-bus": [
        ("00.0", ids, "Root Complex Integrated Endpoint", kernel, kernel == "next")
        for ids in ("8086:0b25", "8086:0cfe", "8086:4940") for kernel in ("6.1", "6.12", "next")],
}


def test_each_platform_statement_is_asked():
    assert sorted(STATEMENTS) == PLATFORMS


@pytest.mark.parametrize(("slot", "ids", "kind", "kernel", "listed"),
                         [row for rows in STATEMENTS.values() for row in rows])
def test_platform_statement(slot, ids, kind, kernel, listed):
    text = "\n".join([
        "0000:00:00.0 Host bridge [0600]: A [8086:2020]", "\tCapabilities: [40] Express (v2) Root Port (Slot-), MSI 00",
        f"0000:6a:{slot} System peripheral [0880]: B [{ids}]", f"\tCapabilities: [40] Express (v2) {kind}, MSI 00",
        "0000:6a:1c.0 3D controller [0302]: C [abcd:0001]", "\tCapabilities: [40] PM",
        "0000:6a:1d.0 3D controller [0302]: D [abcd:0001]", "\tCapabilities: [40] PM"])
    machine = build(read_lspci(text), cpu=("Intel", 6), kernel=kernel)
    pair = [machine.devices[0, 0x6a, 0x1c << 3], machine.devices[0, 0x6a, 0x1d << 3]]
    verdict = judge(machine, [pair])[0]
    assert verdict.map_type == ("THRU_HOST_BRIDGE" if listed else "NOT_SUPPORTED")
    assert verdict.distance == (2 if listed else -1)


def test_incomplete_path_is_unknown():
    """Case 16: the Thunderbolt switches are not given; from the two GPUs alone nothing follows."""
    text = "45:00.0 VGA compatible controller: Vega 20\n82:00.0 VGA compatible controller: Vega 20\n"
    machine = build(read_lspci(text), cpu=("Intel", 6))
    verdict = judge(machine, [list(machine.devices.values())])[0]
    assert (verdict.map_type, verdict.distance, verdict.hops) == ("UNKNOWN", None, None)
    assert "unknown: the bridge above bus 0000:45 is not in the file (lspci -t shows it)" in verdict.reason
