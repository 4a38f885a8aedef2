"""The command that answers OPTIMADE queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from defectdb.cli.display.terminal import emit_json, say
from defectdb.cli.options import seconds

if TYPE_CHECKING:
    from defectdb.cli import Settings


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="NAME",
              help="Address to listen on; 0.0.0.0 for all of this machine's.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=5000, show_default=True, metavar="N",
              help="Port to listen on; 0 takes any free one.")  # fmt: skip
@click.option("--time-limit", type=click.FloatRange(min=0, min_open=True), default=10.0, show_default=True,
              callback=seconds, metavar="S", help="Seconds that one request may take.")  # fmt: skip
@click.option("--base-url", metavar="URL",
              help="Address that readers know the service by, where it stands behind another server.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The address as JSON, once it answers.")
@click.pass_obj
def serve_command(
    settings: Settings, host: str, port: int, time_limit: float, base_url: str | None, as_json: bool
) -> None:
    """Answer OPTIMADE 1.2 queries about the stored structures until Ctrl-C; only reads.

    Properties of the project begin with _defectdb_: material, defects, energies, gaps and predictions with their
    intervals; /v1/info/structures lists them with units. The database stays free for writers between two requests.
    Needs the extra 'serve'.

    \b
    Examples:
      defectdb serve
      defectdb serve --host 0.0.0.0 --port 8080 --base-url https://defects.example.org
      curl 'http://127.0.0.1:5000/v1/structures?filter=elements HAS "W" AND _defectdb_n_defects=2'
    """
    from defectdb.db import open_database
    from defectdb.serve.optimade.application import application
    from defectdb.serve.optimade.server import address_of, listening, serve

    with open_database(settings.database, read_only=True):
        pass  # a file that is none is said now, not to the first reader
    app = application(settings.database, seconds=time_limit, base_url=base_url)
    with listening(host, port) as bound:
        address = f"{address_of(bound)}/v1"
        if as_json:
            emit_json({"address": address, "database": settings.database})
        say(settings, f"{address} answers OPTIMADE queries; Ctrl-C ends it")
        try:
            serve(app, bound, lambda line: click.echo(line, err=True))
        except KeyboardInterrupt:
            say(settings, "ended")
