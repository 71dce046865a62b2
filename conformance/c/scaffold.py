# SPDX-License-Identifier: MIT
"""new-backend: a backend that builds and passes the smoke rules, to begin with."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

#: {language: {file: template}}
TEMPLATES = {
    "c": {"{}.c": "backend.c.txt"},
    "python": {"{}.py": "backend.py.txt"},
    "cython": {"{}.pyx": "backend.pyx.txt", "setup.py": "setup.py.txt"},
}
NEXT = {
    "c": ["dma-conformance run --backend c:{out}/{name}.c:{name}_dma_ops --rule smoke"],
    "python": ["cd {out}", "dma-conformance run --backend py:{name}:RECORD --rule smoke"],
    "cython": ["cd {out}", "python setup.py build_ext --inplace",
               "dma-conformance run --backend py:{name}:RECORD --rule smoke"],
}


@click.command("new-backend")
@click.argument("name")
@click.option("--lang", type=click.Choice(list(TEMPLATES)), required=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="Folder; it may exist.")
def new_backend_command(name: str, lang: str, out: Path) -> None:
    """Write a backend that builds and passes the smoke rules, to begin with."""
    if not name.isidentifier() or name != name.lower():
        raise click.UsageError(f"{name!r} is no name for a backend: lower-case letters, digits and _")
    out.mkdir(parents=True, exist_ok=True)
    written = {out / file.format(name): template for file, template in TEMPLATES[lang].items()}
    there = [str(path) for path in written if path.exists()]
    if there:
        raise click.UsageError(f"{there[0]} exists")
    title = "".join(word.capitalize() for word in name.split("_")) + "DmaOps"
    for path, template in written.items():
        text = (files(__package__) / "templates" / template).read_text(encoding="utf-8")
        path.write_text(text.replace("@NAME@", name).replace("@CLASS@", title), encoding="utf-8")
        click.echo(f"wrote {path}")
    click.echo("next:")
    for line in NEXT[lang]:
        click.echo(f"    {line.format(name=name, out=out)}")
