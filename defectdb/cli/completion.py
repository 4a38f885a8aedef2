"""Shell completion: the script to install it, and the names it offers."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")


def targets(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Targets that begin with what was typed."""
    from defectdb.schema.fields import TARGETS

    names = [*TARGETS, "formation_energy_per_site"]
    return [name for name in names if name.startswith(incomplete)]


def labels(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Pair labels of the database that begin with what was typed; none where it cannot be read."""
    from defectdb.db import open_database
    from defectdb.db.read import pair_labels
    from defectdb.errors import DatabaseError

    try:
        with open_database(ctx.find_root().params["database"], read_only=True) as db:
            return [name for name in pair_labels(db) if name.startswith(incomplete)]
    except DatabaseError:
        return []


def materials(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Materials of the database that begin with what was typed; none where it cannot be read."""
    return _stored_names(ctx, "SELECT material_id FROM materials ORDER BY ALL", incomplete)


def datasets(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Datasets of the database that begin with what was typed; none where it cannot be read."""
    return _stored_names(ctx, "SELECT dataset_id FROM datasets ORDER BY ALL", incomplete)


def _stored_names(ctx: click.Context, query: str, incomplete: str) -> list[str]:
    from defectdb.db import open_database
    from defectdb.errors import DatabaseError

    try:
        with open_database(ctx.find_root().params["database"], read_only=True) as db:
            return [name for (name,) in db.frame(query).iter_rows() if name.startswith(incomplete)]
    except DatabaseError:
        return []


@click.command("completion")
@click.argument("shell", metavar="bash | zsh | fish")
def completion_command(shell: str) -> None:
    """Print the script that completes commands, options, targets, labels and materials in a shell.

    \b
    Examples:
      defectdb completion bash
      defectdb completion fish
    """
    from click.shell_completion import get_completion_class

    from defectdb.cli import cli
    from defectdb.errors import UnknownNameError

    found = get_completion_class(shell) if shell in SHELLS else None
    if found is None:
        raise UnknownNameError("shell", shell, list(SHELLS))
    click.echo(found(cli, {}, "defectdb", "_DEFECTDB_COMPLETE").source())
