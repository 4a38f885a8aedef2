"""The command that writes the explorer and shows it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from defectdb.cli.display.terminal import emit_json, say
from defectdb.errors import UsageError

if TYPE_CHECKING:
    from defectdb.cli import Settings


@click.command("site")
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[FOLDER]")
@click.option(
    "--serve", is_flag=True, help="Show it on this machine until Ctrl-C; without FOLDER nothing is kept."
)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, metavar="N",
              help="Port of --serve; 0 takes any free one.")  # fmt: skip
@click.option("--open", "opened", is_flag=True, help="With --serve: open the browser.")
@click.option("--json", "style", flag_value="json", help="As JSON.")
@click.pass_obj
def site_command(
    settings: Settings, folder: Path | None, serve: bool, port: int, opened: bool, style: str | None
) -> None:
    """Write the explorer into FOLDER: static pages and a copy of the database that they read in the browser.

    Any web server can show the folder; its readers need no Python. Pages: overview, kernels, models, structures,
    screening, SQL.

    \b
    Examples:
      defectdb site public
      defectdb site --serve
      defectdb site public --serve --port 0
    """
    if folder is None and not serve:
        raise UsageError(
            "name the folder to write, or use --serve to look at the explorer without keeping it"
        )
    from defectdb.serve.site.write import write_site

    with TemporaryDirectory() as passing:
        target = folder if folder is not None else Path(passing)
        written = write_site(settings.database, target)
        size = sum(path.stat().st_size for path in written)
        if folder is not None:
            say(settings, f"{folder}: {len(written)} files, {size / 1e6:.0f} MB; any web server can show it")
        facts = {"folder": str(target), "files": len(written), "bytes": size} if style == "json" else None
        if serve:
            _serve(settings, target, port, opened, facts)
        elif facts is not None:
            emit_json(facts)


def _serve(
    settings: Settings, folder: Path, port: int, opened: bool, facts: Mapping[str, object] | None
) -> None:
    """Show the folder until Ctrl-C; ``facts`` are printed as JSON, with the address."""
    from defectdb.serve.site.local_server import local_server

    with local_server(folder, port) as server:
        address = f"http://127.0.0.1:{server.server_port}/"
        if facts is not None:
            emit_json({**facts, "address": address})
        say(settings, f"{address} shows it; Ctrl-C ends it")
        if opened:
            import webbrowser

            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say(settings, "ended")
