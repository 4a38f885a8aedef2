"""Colours, sizes and names shared by all figures, and saving them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from defectdb.errors import MissingPartError
from defectdb.query.output_file import whole_file
from defectdb.schema.labels import COMPOSITION, split_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette: told apart with any colour vision."""

MARKERS = ("o", "s", "^", "D", "v", "P")

COLUMN = 3.375  # inches: one column of a two-column page

SUFFIXES = (".png", ".pdf", ".svg")

NAMES = {
    "formation_energy": "formation energy",
    "formation_energy_per_site": "formation energy per site",
    "homo_lumo_gap": "HOMO–LUMO gap",
    "homo": "HOMO",
    "lumo": "LUMO",
}

_STYLE = {
    "font.size": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7,
    "axes.linewidth": 0.6, "lines.linewidth": 1.2, "savefig.dpi": 300, "svg.hashsalt": "defectdb",
    "xtick.direction": "in", "ytick.direction": "in", "legend.frameon": False, "pdf.fonttype": 42,
}  # fmt: skip


def save_styled(make: Callable[[], Figure], path: Path) -> None:
    """Make a figure in the style of all figures and write it. Raises MissingPartError and InputDataError."""
    _save(styled(make), path)


def styled(make: Callable[[], Figure]) -> Figure:
    """A figure made in the style of all figures. Raises MissingPartError without matplotlib."""
    try:
        import matplotlib as mpl
    except ImportError as cause:
        raise MissingPartError("figures need matplotlib: pip install 'defectdb[plots]'") from cause
    with mpl.rc_context(_STYLE):
        return make()


def _save(figure: Figure, path: Path) -> None:
    import matplotlib as mpl

    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
    with mpl.rc_context(_STYLE), whole_file(path) as draft:
        figure.savefig(draft, metadata=metadata)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure (inches) that belongs to no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def scaled(target: str) -> tuple[float, str]:
    """Factor from eV and unit in which a kernel of the target is drawn."""
    return (1000.0, "meV") if target == "formation_energy" else (1.0, "eV")


def quantity(target: str) -> str:
    """What a kernel of the target is called on an axis."""
    return "interaction" if target == "formation_energy" else NAMES[target]


def legend_above(figure: Figure, axes: Axes, title: str) -> None:
    """A legend above the axes, where it hides no point."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, title=title, loc="outside upper center", ncols=3, columnspacing=1.2,
                  handletextpad=0.4, borderpad=0.1)  # fmt: skip


def pretty(label: str) -> str:
    """A label as mathematics: V_Mo – V_S with subscripts."""
    return " – ".join(_mathematics(part) for part in split_label(label))


def _mathematics(label: str) -> str:
    """One defect's label as mathematics, with its charge where it has one."""
    if label == COMPOSITION:
        return label
    name, _, charge = label.partition("^")
    kind, site = name.split("_")
    above = f"^{{{charge}}}" if charge else ""
    return rf"$\mathrm{{{'V' if kind == 'Vac' else kind}}}_{{\mathrm{{{site}}}}}{above}$"


def window_name(dz_min: float, dz_max: float) -> str:
    """A window of |dz| in a legend; "formulas" for every |dz|."""
    if dz_min == 0 and dz_max >= 1e8:
        return "formulas"
    return rf"$|\Delta z|$ < {dz_max:.2g} Å" if dz_min == 0 else rf"$|\Delta z|$ ≥ {dz_min:.2g} Å"
