# SPDX-License-Identifier: MIT
"""Each fragment of the changelog is one that towncrier would take: topic.type.md, of a type in pyproject.toml."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_fragments():
    with open(ROOT / "pyproject.toml", "rb") as file:
        settings = tomllib.load(file)["tool"]["towncrier"]
    types = {row["directory"] for row in settings["type"]}
    wrong = []
    for path in (ROOT / settings["directory"]).iterdir():
        parts = path.name.split(".")
        if len(parts) != 3 or parts[1] not in types or parts[2] != "md":
            wrong.append(f"{path.name}: is not TOPIC.TYPE.md with TYPE one of {', '.join(sorted(types))}")
        elif not path.read_text(encoding="utf-8").rstrip().endswith("."):
            wrong.append(f"{path.name}: does not end with a full stop")
    assert not wrong
    assert settings["start_string"] in (ROOT / settings["filename"]).read_text(encoding="utf-8")
