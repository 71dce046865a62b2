# SPDX-License-Identifier: MIT
"""dma-conformance completion: what a shell offers after the TAB key, ids of backends, rules and cases included."""

from __future__ import annotations

from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem, get_completion_class

VARIABLE = "_DMA_CONFORMANCE_COMPLETE"
WHERE = {
    "bash": 'eval "$(dma-conformance completion bash)"                # in ~/.bashrc',
    "zsh": 'eval "$(dma-conformance completion zsh)"                 # in ~/.zshrc, after compinit',
    "fish": "dma-conformance completion fish | source                # in ~/.config/fish/config.fish",
}


@click.command("completion")
@click.argument("shell", type=click.Choice(list(WHERE)))
def completion_command(shell: str) -> None:
    """Print what makes a shell complete commands, options and ids."""
    kind = get_completion_class(shell)
    assert kind is not None
    main = click.get_current_context().find_root().command
    click.echo(kind(main, {}, "dma-conformance", VARIABLE).source())


def _items(found: Iterable[tuple[str, str]], before: str, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(before + name, help=" ".join(told.split()) or None) for name, told in found
            if name.startswith(incomplete)]


def backend_ids(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """After a comma, the next one."""
    from .selection import known_backends

    head, comma, last = incomplete.rpartition(",")
    return _items(((name, record.summary) for name, record in known_backends().items()), head + comma, last)


def rule_ids(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from .rules import load_rules

    head, comma, last = incomplete.rpartition(",")
    return _items(((name, rule.text) for name, rule in load_rules().items()), head + comma, last.upper())


def case_ids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """RULE, or RULE:BACKEND:MACHINE:API part by part; a route has a design for its last part."""
    from .selection import APIS, DESIGNS, ROUTES, known_backends, route_id

    *before, last = incomplete.split(":")
    head = "".join(f"{part}:" for part in before)
    is_route = incomplete.startswith("route/")
    if not before:
        routes = [(route_id(name), "a route of the P2PDMA axis") for name in ROUTES]
        return rule_ids(ctx, param, incomplete) + _items(routes, "", incomplete)
    if len(before) == 1:
        return _items(((name, record.summary) for name, record in known_backends().items()), head, last)
    record = known_backends().get(before[1])
    if record is None or len(before) > 3:
        return []
    if len(before) == 2:
        return _items(((config.name, config.facts) for config in record.machines), head, last)
    return _items(((name, "") for name in (DESIGNS if is_route else APIS)), head, last)


def saboteur_names(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from .saboteurs import SABOTEURS

    return _items(((one.name, one.what) for one in SABOTEURS.values()), "", incomplete)
