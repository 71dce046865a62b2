# SPDX-License-Identifier: MIT
"""Rules of the house that no linter knows: an SPDX line in every file, and imports that point only downwards."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ["scatterlist", "dma_ops", "arch", "conformance"]      # each may import those before it
NO_SPDX = {".json", ".gz", ".svg", ".md", ".png", ".jsonl"}     # formats without comments, and prose
NAMES = {"LICENSE", "py.typed"}
IMPORT = re.compile(r"^\s*(?:from|import|cimport)\s+([a-z_]+)(?:\.([a-z0-9_]+))?", re.MULTILINE)


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True,
                            check=False)
    if listed.returncode:
        return [path for path in ROOT.rglob("*") if path.is_file() and ".tox" not in path.parts]
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def complaints() -> list[str]:
    found = []
    for path in tracked():
        name = path.relative_to(ROOT)
        if path.suffix not in NO_SPDX and path.name not in NAMES and path.stat().st_size:
            head = path.read_text(encoding="utf-8", errors="replace")[:400]
            if "SPDX-License-Identifier: MIT" not in head:
                found.append(f"{name}: no SPDX-License-Identifier: MIT in its first lines")
        package = name.parts[0]
        if package in LAYERS and path.suffix in {".py", ".pyx", ".pxd", ".pyi"}:
            text = path.read_text(encoding="utf-8")
            above = LAYERS[LAYERS.index(package) + 1:]
            for match in IMPORT.finditer(text):
                if match[1] in above:
                    found.append(f"{name}: imports {match[1]}, which is above {package}")
                if package == "arch" and match[1] == "arch" and match[2] not in {None, "record", name.parts[1]}:
                    found.append(f"{name}: imports another architecture, arch.{match[2]}")
    return found


if __name__ == "__main__":
    rows = complaints()
    print("\n".join(rows))
    sys.exit(1 if rows else 0)
