# SPDX-License-Identifier: MIT
"""Single functions and types out of Linux's files, word for word: what is compiled is the user's source."""

from __future__ import annotations

import re


class NotFound(RuntimeError):
    """The file has no such definition."""


def definition(text: str, name: str) -> str:
    """A function by its name, or "struct NAME", "enum NAME" or "#define NAME"."""
    if name.startswith("#define "):
        pattern = rf"^{re.escape(name)}\b(?:.*\\\n)*.*\n"
    elif name.startswith(("struct ", "enum ")):
        pattern = rf"^{name} \{{\n(?:.*\n)*?\}}.*;\n"
    else:
        head = rf"(?:[a-z][\w ]*\n|[a-z][^\n;{{}}()#]*[ *]){name}"     # the type may have a line of its own
        pattern = rf"^{head}\([^;{{}}]*?\)\n\{{ ?\n(?:.*\n)*?\}}\n"
    found = re.search(pattern, text, re.M)
    if found is None:
        raise NotFound(name)
    return found[0]


def extract(text: str, names: tuple[str, ...]) -> str:
    """The definitions, one behind the other as they are named."""
    return "\n".join(definition(text, name) for name in names)
