# SPDX-License-Identifier: MIT
"""Takes the pictures in docs/pictures with Chromium: the report, a timeline, a topology; wide and as on a phone.

    python docs/screenshots.py RESULTS|PAGE.html

RESULTS is the folder of a run; a kills.json and a trace.json beside it are in the report. Pillow, if it is there, makes
the files small. A PAGE.html in its place is taken as it is.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from browser import Browser, find

HERE = Path(__file__).resolve().parent
OUT = HERE / "pictures"
WIDE, PHONE = (1400, 900), (390, 780)
CASE = "DMA-20:dma_direct:x86_64-force:legacy"
#: name, fragment, size, dark
VIEWS = [
    ("report", "", WIDE, False),
    ("report-dark", "#view=p2p", WIDE, True),
    ("report-case", "#backend=sba_dma_ops&rule=DMA+lists&verdict=known", WIDE, False),
    ("report-kills", "#view=kills", WIDE, False),
    ("report-trace", "#view=trace", WIDE, False),
    ("report-phone", "", PHONE, False),
    ("report-phone-case", "#backend=sba_dma_ops&rule=DMA+lists&verdict=known", PHONE, True),
    ("timeline-phone", "#backend=sba_dma_ops&rule=DMA+lists&verdict=known", PHONE, False),
]
LSPCI = """\
00:00.0 Host bridge [0600]: Intel [8086:2020]
	Capabilities: [40] Vendor Specific Information
17:00.0 PCI bridge [0604]: Intel [8086:2030]
	Bus: primary=17, secondary=18, subordinate=1e, sec-latency=0
	Capabilities: [40] Express (v2) Root Port (Slot+), MSI 00
	Capabilities: [100 v1] Advanced Error Reporting
18:00.0 PCI bridge [0604]: PLX [10b5:9797]
	Bus: primary=18, secondary=19, subordinate=1e, sec-latency=0
	Capabilities: [40] Express (v2) Upstream Port, MSI 00
	Capabilities: [100 v1] Advanced Error Reporting
{ports}
3a:00.0 PCI bridge [0604]: Intel [8086:2030]
	Bus: primary=3a, secondary=3b, subordinate=3b, sec-latency=0
	Capabilities: [40] Express (v2) Root Port (Slot+), MSI 00
	Capabilities: [100 v1] Advanced Error Reporting
3b:00.0 Ethernet controller [0200]: Mellanox [15b3:1017]
	Capabilities: [60] Express (v2) Endpoint, MSI 00
	Capabilities: [100 v1] Advanced Error Reporting
"""
PORT = """\
19:{slot}.0 PCI bridge [0604]: PLX [10b5:9797]
	Bus: primary=19, secondary={bus}, subordinate={bus}, sec-latency=0
	Capabilities: [40] Express (v2) Downstream Port (Slot+), MSI 00
	Capabilities: [148 v1] Access Control Services
		ACSCtl:	SrcValid+ TransBlk- ReqRedir{on} CmpltRedir{on} UpstreamFwd+ EgressCtrl- DirectTrans-
{bus}:00.0 {what}
	Capabilities: [40] Express (v2) Endpoint, MSI 00
	Capabilities: [100 v1] Advanced Error Reporting
"""
GPU = "VGA compatible controller [0300]: NVIDIA [10de:1eb0]"
NVME = "Non-Volatile memory controller [0108]: Samsung [144d:a808]"
MACHINE = LSPCI.format(ports="".join(
    PORT.format(slot=slot, bus=bus, on=on, what=what) for slot, bus, on, what in
    (("04", "1a", "-", GPU), ("0c", "1c", "-", NVME), ("10", "1d", "+", GPU))
).rstrip())


def command(*words: str) -> str:
    """What dma-conformance prints. Its status is that of the results, and does not matter here."""
    done = subprocess.run([sys.executable, "-m", "conformance", *words], capture_output=True, text=True, check=False)
    if done.returncode == 2:
        raise SystemExit(done.stderr)
    return done.stdout


def small(path: Path) -> None:
    """With 64 colours, which is what there are."""
    try:
        from PIL import Image
    except ImportError:
        return
    with Image.open(path) as picture:
        made = picture.convert("RGB").quantize(64, dither=Image.Dither.NONE)
    made.save(path, optimize=True)


def take(results: Path, folder: Path) -> None:
    page = results
    if results.suffix != ".html":
        page = folder / "report.html"
        page.write_text(command("report", str(results), "--format", "html", "--timelines"), encoding="utf-8")
    (folder / "lspci.txt").write_text(MACHINE, encoding="utf-8")
    (folder / "timeline.svg").write_text(command("explain", CASE, "--form", "svg"), encoding="utf-8")
    command("topology", str(folder / "lspci.txt"), "--svg", str(folder / "topology.svg"))
    program = find()
    if program is None:
        raise SystemExit("no Chromium is installed")
    with Browser(program) as browser:
        def shoot(name: str) -> None:
            browser.picture(OUT / f"{name}.png")
            small(OUT / f"{name}.png")

        for name, fragment, size, dark in VIEWS:
            browser.view(*size, dark=dark)
            browser.open(page, fragment)
            if "verdict=known" in fragment:
                browser.click("details.case summary")
                browser.wait("document.querySelector('.drill') !== null")
                browser.js("document.querySelector('details.case').scrollIntoView()")
                if size == WIDE or "timeline" in name:
                    browser.js("document.querySelector('.picture')?.scrollIntoView({block: 'end'})")
            shoot(name)
        for name in ("timeline", "topology"):
            browser.view(*WIDE)
            browser.open(folder / f"{name}.svg")
            tall = int(browser.js("document.documentElement.getBoundingClientRect().height")) + 1
            wide = int(browser.js("document.documentElement.getBoundingClientRect().width")) + 1
            for suffix, dark in (("", False), ("-dark", True)):
                browser.view(max(wide, 500), tall, dark=dark)        # narrower is a phone
                shoot(name + suffix)
        browser.view(*PHONE)
        browser.open(folder / "topology.svg")
        shoot("topology-phone")


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        take(Path(sys.argv[1]), Path(folder))


if __name__ == "__main__":
    main()
