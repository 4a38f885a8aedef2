"""`defectdb evaluate --published`: published errors, those of common models, and ours, on the same structures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from defectdb.cli.display.terminal import emit, say

if TYPE_CHECKING:
    import polars as pl

    from defectdb.cli import Settings
    from defectdb.db import Database
    from defectdb.db.scope import Scope

SHORT = {
    "Symbolic (SEGVAE)": "symb",
    "sparse network, later": "net",
    "pair look-up": "look",
    "pair expansion, ridge": "ridge",
    "pair expansion, absolute errors": "LAD",
    "composition and pairs": "cubic",
    "pair tables per composition": "table",
    "randomised trees": "trees",
}
"""Methods of the printed table; the other ones are in --json and --csv."""

LEGEND = """\
symb, net: symbolic regression and sparse graph network, as published. All
others are judged on the same n structures, those with three and more defects:
look   pair look-up in structures of one and two defects; of gaps the least
ridge  pair cluster expansion by ridge regression, five folds
LAD    the same by least absolute errors
cubic  the same with a cubic polynomial in the numbers of defects
table  pair tables for every set of defects, by least absolute errors
trees  randomised trees on numbers of defects and of near pairs
In parentheses the share of structures predicted where it is not all of them."""

FITTED = """\
from all: models in use that were fitted to these very structures; what they
give in five folds stands in `defectdb status` (mae_cv)."""


def show_published(
    settings: Settings, db: Database, scope: Scope, target: str | None, style: str | None
) -> None:
    """Print the errors on all eight published sets, both targets."""
    from defectdb.query.paper.published import ENERGY, GAP

    targets = [name for name in (ENERGY, GAP) if target in (None, name)]
    frame = compared(settings, db, scope, targets)
    if style is not None:
        emit(frame, style)
        return
    for name, what in ((ENERGY, "formation energy per site"), (GAP, "HOMO-LUMO gap")):
        rows = frame.filter(target=name)
        if rows.height:
            say(settings, f"mean absolute errors of the {what}, meV")
            emit(_wide(rows))
    say(settings, LEGEND)
    if frame["method"].str.starts_with("this work, from all").any():
        say(settings, FITTED)


def compared(settings: Settings, db: Database, scope: Scope, targets: list[str]) -> pl.DataFrame:
    """One row per set, target and method: n, n_judged, coverage (null where published), mae_mev (null where none)."""
    import polars as pl

    from defectdb.query.paper.accuracy import judged_errors
    from defectdb.query.paper.published import SETS, published, set_scope

    theirs = published().select("set", "target", "method", "mae_mev").filter(pl.col("target").is_in(targets))
    frames = [theirs]
    for one in SETS:
        own = set_scope(db, one, scope)
        if own is None:
            continue
        say(settings, f"fitting common models to {one.name}")
        for target in targets:
            frames.append(_peers(db, own, target).with_columns(set=pl.lit(one.name), target=pl.lit(target)))
        mine = judged_errors(db, own).filter(pl.col("target").is_in(targets))
        coverage = pl.col("n") / pl.col("n_judged")
        frames.append(mine.with_columns(set=pl.lit(one.name), coverage=coverage))
    order = {one.name: number for number, one in enumerate(SETS)}
    columns = ("set", "target", "method", "n", "n_judged", "coverage", "mae_mev")
    table = pl.concat(frames, how="diagonal_relaxed").select(columns)
    rank = pl.col("set").replace_strict(order, return_dtype=pl.Int64)
    return table.sort(
        rank, pl.col("target").replace_strict({t: i for i, t in enumerate(targets)}), maintain_order=True
    )


def _peers(db: Database, scope: Scope, target: str) -> pl.DataFrame:
    import polars as pl

    from defectdb.learn.judging.peers import peer_table

    learned = target.removesuffix("_per_site")
    table = peer_table(db, scope, learned, per_site=learned != target)
    return table.select("method", "n", "n_judged", "coverage", mae_mev=1000 * pl.col("mae"))


def _wide(rows: pl.DataFrame) -> pl.DataFrame:
    """A row for each set, a column for each method."""
    import polars as pl

    ours = sorted({name for name in rows["method"] if name.startswith("this work")})
    named = {name: name.removeprefix("this work, ") for name in ours} | SHORT  # where not all fit, ours stay
    partly = (pl.col("coverage") < 1) & (pl.col("n") > 0)
    text = pl.col("mae_mev").map_elements(lambda x: f"{x:.3g}", return_dtype=pl.String)
    share = pl.format("{} ({}%)", text, (100 * pl.col("coverage")).round(0).cast(pl.Int64))
    cells = rows.filter(pl.col("method").is_in(list(named))).with_columns(
        pl.col("method").replace_strict(named), cell=pl.when(partly).then(share).otherwise(text)
    )
    judged = rows.group_by("set", maintain_order=True).agg(n=pl.col("n_judged").max())
    wide = cells.pivot(on="method", index="set", values="cell", maintain_order=True)
    shown = [name for name in named.values() if name in wide.columns]
    return judged.join(wide, on="set", maintain_order="left").select("set", "n", *shown)
