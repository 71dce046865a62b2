# SPDX-License-Identifier: MIT
EXPECTED: dict[str, tuple[int, dict[str, int]]]

def compiled() -> dict[str, tuple[int, dict[str, int]]]: ...
