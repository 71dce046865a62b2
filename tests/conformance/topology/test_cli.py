# SPDX-License-Identifier: MIT
"""dma-conformance topology: what it prints, its JSON, its exit status."""

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from conformance.cli import main

DATA = Path(__file__).parent / "data/lspci"

# two GPUs below one switch whose ports redirect, on a host bridge that is not in the list
MACHINE = """\
00:00.0 Host bridge [0600]: Intel [8086:{host}]
	Capabilities: [40] Vendor Specific Information
00:01.0 PCI bridge [0604]: Intel [8086:4c01]
	Bus: primary=00, secondary=0a, subordinate=12, sec-latency=0
	Capabilities: [40] Express (v2) Root Port (Slot+), MSI 00
	Capabilities: [100 v1] Advanced Error Reporting
0a:00.0 PCI bridge [0604]: PLX [1000:c012]
	Bus: primary=0a, secondary=0b, subordinate=12, sec-latency=0
	Capabilities: [40] Express (v2) Upstream Port, MSI 00
0b:00.0 PCI bridge [0604]: PLX [1000:c012]
	Bus: primary=0b, secondary=0e, subordinate=0e, sec-latency=0
	Capabilities: [40] Express (v2) Downstream Port (Slot+), MSI 00
	Capabilities: [148 v1] Access Control Services
		ACSCtl:	SrcValid+ TransBlk- {redirect} UpstreamFwd+ EgressCtrl- DirectTrans-
0b:10.0 PCI bridge [0604]: PLX [1000:c012]
	Bus: primary=0b, secondary=12, subordinate=12, sec-latency=0
	Capabilities: [40] Express (v2) Downstream Port (Slot+), MSI 00
	Capabilities: [148 v1] Access Control Services
		ACSCtl:	SrcValid+ TransBlk- {redirect} UpstreamFwd+ EgressCtrl- DirectTrans-
0e:00.0 VGA compatible controller [0300]: Intel [8086:e223]
	Capabilities: [40] Express (v2) Endpoint, MSI 00
12:00.0 VGA compatible controller [0300]: Intel [8086:e223]
	Capabilities: [40] Express (v2) Endpoint, MSI 00
"""


@pytest.fixture
def run(tmp_path):
    def call(*options, text=None, **facts):
        facts = {"host": "4c43", "redirect": "ReqRedir+ CmpltRedir+"} | facts
        path = tmp_path / "lspci.txt"
        path.write_text(MACHINE.format(**facts) if text is None else text)
        result = CliRunner().invoke(main, ["topology", str(path), *options])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return call


def test_json(run):
    result = run("--json")
    assert result.exit_code == 1
    (verdict,) = json.loads(result.output)
    assert list(verdict) == ["provider", "client", "map_type", "distance", "reason", "acs", "host_bridges"]
    assert [verdict[key] for key in ("provider", "client", "map_type", "distance")] == [
        "0000:0e:00.0", "0000:12:00.0", "NOT_SUPPORTED", -1]
    assert verdict["reason"][1] == ("ACS redirect is on: 0000:0b:00.0 (ReqRedir+ CmpltRedir+), "
                                    "0000:0b:10.0 (ReqRedir+ CmpltRedir+)")
    assert verdict["acs"][0] == {
        "port": "0000:0b:00.0", "id": "1000:c012", "redirects": True, "control": "0x001d",
        "setpci": "setpci -s 0000:0b:00.0 ECAP_ACS+6.w=0000:002c", "reason": None}
    assert verdict["host_bridges"] == [{
        "bus": "0000:00", "device": "0000:00:00.0", "id": "8086:4c43", "listed": False, "same_host_bridge_only": False,
        "reason": None}]


@pytest.mark.parametrize(("options", "facts", "map_type", "distance", "status"), [
    ((), {}, "NOT_SUPPORTED", -1, 1),
    (("--cpu", "other"), {}, "NOT_SUPPORTED", -1, 1),
    (("--cpu", "zen"), {}, "THRU_HOST_BRIDGE", 4, 0),
    (("--cpu", "AMD:0x17"), {}, "THRU_HOST_BRIDGE", 4, 0),
    (("--cpu", "AuthenticAMD:25"), {}, "THRU_HOST_BRIDGE", 4, 0),
    (("--cpu", "AMD:22"), {}, "NOT_SUPPORTED", -1, 1),
    (("--cpu", "HygonGenuine:24"), {}, "NOT_SUPPORTED", -1, 1),
    (("--allow-bridge", "8086:4c43"), {}, "THRU_HOST_BRIDGE", 4, 0),
    (("--allow-bridge", "8086:4c43:same"), {}, "THRU_HOST_BRIDGE", 4, 0),
    (("--allow-bridge", "8086:4c44"), {}, "NOT_SUPPORTED", -1, 1),
    ((), {"host": "2020"}, "THRU_HOST_BRIDGE", 4, 0),
    ((), {"host": "0c08"}, "NOT_SUPPORTED", -1, 1),
    (("--kernel", "6.12"), {"host": "0c08"}, "NOT_SUPPORTED", -1, 1),
    (("--kernel", "next"), {"host": "0c08"}, "THRU_HOST_BRIDGE", 4, 0),
    ((), {"redirect": "ReqRedir- CmpltRedir-"}, "BUS_ADDR", 4, 0),
    ((), {"redirect": "ReqRedir- CmpltRedir+"}, "NOT_SUPPORTED", -1, 1),
    (("--what-if", "acs-off"), {}, "BUS_ADDR", 4, 0),
    (("--what-if", "acs-off=0000:0b:00.0;0000:0b:10.0"), {}, "BUS_ADDR", 4, 0),
    (("--what-if", "acs-off=0b:00.0"), {}, "NOT_SUPPORTED", -1, 1),             # one port of two is not enough
    (("--what-if", "acs-off=0b:00.0", "--what-if", "acs-off=0b:10.0"), {}, "BUS_ADDR", 4, 0),
    (("--what-if", "allow-bridge=8086:4c43"), {}, "THRU_HOST_BRIDGE", 4, 0),
    (("--what-if", "kernel=next"), {"host": "0c08"}, "THRU_HOST_BRIDGE", 4, 0),
    (("--what-if", "cpu=zen"), {}, "THRU_HOST_BRIDGE", 4, 0),
    ((), {"host": "29c0"}, "UNKNOWN", None, 1),                                     # QEMU's Q35: whose CPU?
    (("--cpu", "zen"), {"host": "29c0"}, "THRU_HOST_BRIDGE", 4, 0),
    ((), {"redirect": ""}, "UNKNOWN", None, 1),                                     # ACSCtl is cut
    (("--cpu", "zen"), {"redirect": ""}, "UNKNOWN", 4, 1),
])
def test_options(run, options, facts, map_type, distance, status):
    result = run("--json", *options, **facts)
    (verdict,) = json.loads(result.output)
    assert (verdict["map_type"], verdict["distance"], result.exit_code) == (map_type, distance, status)
    plain = run(*options, **facts)
    assert plain.exit_code == status
    assert map_type in plain.output
    assert "no proof that data arrives" in plain.output


def test_cpuinfo_file(run, tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    for words, map_type in (("processor : 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\n", "THRU_HOST_BRIDGE"),
                            ("processor : 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\n", "NOT_SUPPORTED"),
                            ("processor : 0\nCPU implementer\t: 0x41\n", "NOT_SUPPORTED")):
        cpuinfo.write_text(words)
        assert json.loads(run("--json", "--cpu", str(cpuinfo)).output)[0]["map_type"] == map_type


def test_terminal(run):
    output = run().output
    assert output.startswith("""\
0000:00
└─ 0000:00:01.0 [8086:4c01] Root Port
   └─ 0000:0a:00.0 [1000:c012] Upstream Port
      ├─ 0000:0b:00.0 [1000:c012] Downstream Port ACS RR CR
      │  └─ 0000:0e:00.0 [8086:e223] Endpoint GPU · Intel
      └─ 0000:0b:10.0 [1000:c012] Downstream Port ACS RR CR
         └─ 0000:12:00.0 [8086:e223] Endpoint GPU · Intel
""")
    for line in ("host bridge 0000:00:00.0 [8086:4c43]: not in the list",
                 "        pci=disable_acs_redir=0000:0b:00.0;0000:0b:10.0",
                 "        setpci -s 0000:0b:00.0 ECAP_ACS+6.w=0000:002c",
                 "NOT_SUPPORTED    0000:0e:00.0 -> 0000:12:00.0  distance -1 (4 hops)",
                 "1 pair: 1 NOT_SUPPORTED"):
        assert line in output


def test_without_ids_there_are_names(tmp_path):
    """And a name's control characters stay away from the terminal."""
    path = tmp_path / "lspci"
    path.write_text("00:1c.0 PCI bridge: Intel Corporation Root Port #1 (rev f0) (prog-if 00 [Normal decode])\n"
                    "\tBus: primary=00, secondary=01, subordinate=01, sec-latency=0\n"
                    "01:00.0 3D controller: NVIDIA Corporation GA102\x1b[31m (rev a1)\n"
                    "01:00.1 3D controller [0302]: NVIDIA Corporation GP102 [Tesla P40] [10de:1b38] (rev a1)\n")
    output = CliRunner().invoke(main, ["topology", str(path)]).output
    assert output.startswith("""\
0000:00
└─ 0000:00:1c.0 bridge ACS ? · Intel Corporation Root Port #1
   ├─ 0000:01:00.0 GPU ACS ? · NVIDIA Corporation GA102[31m
   └─ 0000:01:00.1 [10de:1b38] GPU ACS ? · NVIDIA Corporation GP102 [Tesla P40]
""")


def test_unknown_names_both_answers(run):
    output = run(host="29c0").output
    assert "if the CPU is an AMD Zen or later: THRU_HOST_BRIDGE, distance 4" in output
    assert "if the CPU is no AMD Zen: NOT_SUPPORTED, distance -1" in output
    output = run(redirect="").output
    assert "ACS of 0000:0b:00.0 is unknown: its ACS capability is named but not shown (lspci -vvv)" in output
    assert "if ACS redirect is off at 0000:0b:00.0, 0000:0b:10.0: BUS_ADDR, distance 4" in output
    assert "setpci -s 0000:0b:00.0 ECAP_ACS+6.w\n" in output


def test_what_if_shows_the_change(run):
    assert "NOT_SUPPORTED → BUS_ADDR" in run("--what-if", "acs-off").output


def test_devices(run):
    assert len(json.loads(run("--json", "--all").output)) == 1
    reverse = json.loads(run("--json", "-d", "12:00.0", "-d", "0000:0e:00.0").output)
    assert [reverse[0]["provider"], reverse[0]["client"]] == ["0000:12:00.0", "0000:0e:00.0"]
    assert [port["port"] for port in reverse[0]["acs"]] == ["0000:0b:10.0", "0000:0b:00.0"]
    assert len(json.loads(run("--json", "-d", "gpu").output)) == 1
    assert run("--json", "--class", "GPU").output == run("--json", "-d", "gpu").output


@pytest.mark.parametrize(("options", "sentence"), [
    (("-d", "gpu", "-d", "nonsense"), "'nonsense' is no PCI address"),
    (("-d", "99:00.0"), "there is no function 0000:99:00.0"),
    (("-d", "nvme"), "there are not two devices to pair"),
    (("--class", "nic"), "there are not two devices to pair"),
    (("--cpu", "Pentium"), "--cpu Pentium: neither zen, other"),
    (("--allow-bridge", "4c43"), "'4c43' is no host bridge"),
    (("--what-if", "magic"), "--what-if magic: acs-off"),
    (("--what-if", "acs-off=0000:0b:00.0,0000:0b:10.0"), "is no PCI address"),      # "," ends pci='s option
    (("--what-if", "acs-off=77:00.0"), "acs-off: there is no function 0000:77:00.0"),
    (("--what-if", "kernel=2.4"), "kernel '2.4' is none of 6.1, 6.12, next"),
])
def test_senseless_request(run, options, sentence):
    result = run(*options)
    assert result.exit_code == 2
    assert sentence in result.output
    assert result.output.count("\n") == 1


@pytest.mark.parametrize("text", ["", "Hello", "\0" * 600, "[" * 1000])
def test_no_listing(run, text):
    result = run(text=text)
    assert result.exit_code == 2
    assert "has no PCI function: expected what lspci" in result.output


def test_no_file():
    assert CliRunner().invoke(main, ["topology"]).exit_code == 2
    result = CliRunner().invoke(main, ["topology", "/nonexistent/lspci.txt"])
    assert (result.exit_code, result.output) == (2, "Error: /nonexistent/lspci.txt: No such file or directory\n")


def test_files_of_one_machine(tmp_path):
    paths = []
    for part in ("nn", "tree", "plx"):
        (found,) = DATA.glob(f"08*-{part}.txt.gz")
        paths.append(tmp_path / part)
        paths[-1].write_bytes(gzip.decompress(found.read_bytes()))
    result = CliRunner().invoke(main, ["topology", *map(str, paths), "-d", "gpu", "--json"])
    verdicts = json.loads(result.output)
    assert len(verdicts) == 9 * 8 // 2
    assert {verdict["map_type"] for verdict in verdicts} == {"THRU_HOST_BRIDGE", "UNKNOWN"}
    table = CliRunner().invoke(main, ["topology", *map(str, paths), "-d", "gpu"])
    assert "reasons: --verbose, or fewer --device" in table.output
