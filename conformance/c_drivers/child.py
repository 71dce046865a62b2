# SPDX-License-Identifier: MIT
"""The process in which a driver under test runs: it answers one question, a scenario on a machine, after another."""

from __future__ import annotations

import json
import os
import resource
import sys

from ..selection import subject
from .rig import Api
from .scenarios import play


def answer(backend: str, machine: str, path: str, scenario: str, api: Api, seed: int) -> dict[str, object]:
    try:
        played = play(scenario, subject(backend, machine, api), path, api, seed)
    except Exception as error:
        return {"broken": f"{type(error).__name__}: {error}"}
    return {"findings": played.findings, "shared": played.shared, "steps": played.steps, "why": played.why}


def serve(fd: int) -> None:
    os.set_inheritable(fd, False)
    with os.fdopen(fd, "w") as answers:
        answers.write("{}\n")
        answers.flush()
        for line in sys.stdin:
            answers.write(json.dumps(answer(**json.loads(line))) + "\n")
            answers.flush()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve(int(sys.argv[1]))
