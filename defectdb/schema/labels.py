"""Text in the field's notations (v_Mo, Va_Mo, Vac_Mo, W_Mo) to canonical defect and pair labels."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from defectdb.errors import LabelError

ELEMENTS: tuple[str, ...] = tuple(
    """H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr
    Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu
    Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr
    Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og""".split()  # noqa: SIM905
)
_ELEMENT_SET = frozenset(ELEMENTS)
_LABEL = re.compile(r"([A-Za-z]+)_([A-Z][a-z]?)")
_VACANCY = frozenset({"vac", "va", "v"})


class DefectKind(StrEnum):
    """The four kinds of point defect."""

    VACANCY = "vacancy"
    SUBSTITUTION = "substitution"
    INTERSTITIAL = "interstitial"
    ADATOM = "adatom"


@dataclass(frozen=True, slots=True)
class DefectLabel:
    """One defect: its kind, the host element that is gone and the element put there (None if none)."""

    kind: DefectKind
    element_from: str | None
    element_to: str | None

    def __str__(self) -> str:
        match self.kind:
            case DefectKind.VACANCY:
                return f"Vac_{self.element_from}"
            case DefectKind.SUBSTITUTION:
                return f"{self.element_to}_{self.element_from}"
            case DefectKind.INTERSTITIAL:
                return f"Int_{self.element_to}"
            case DefectKind.ADATOM:
                return f"Ad_{self.element_to}"


def parse_defect(text: str, elements: Collection[str] = ()) -> DefectLabel:
    """Read one defect label.

    ``elements`` are the elements of the host and its dopants: where vanadium is among them, ``V_Mo`` is
    vanadium on an Mo site, elsewhere it is a vacancy. Raises LabelError.
    """
    match = _LABEL.fullmatch(text.strip())
    if match is None:
        raise LabelError(text, "expected KIND_ELEMENT or ELEMENT_SITE")
    head, site = match.groups()
    if site not in _ELEMENT_SET:
        raise LabelError(text, f"{site!r} is no element")
    lower = head.lower()
    vanadium = head == "V" and "V" in elements
    if lower in _VACANCY and not vanadium:
        return DefectLabel(DefectKind.VACANCY, site, None)
    if lower in {"int", "i"} and head != "I":
        return DefectLabel(DefectKind.INTERSTITIAL, None, site)
    if lower in {"ad", "ads"}:
        return DefectLabel(DefectKind.ADATOM, None, site)
    if head not in _ELEMENT_SET:
        raise LabelError(text, f"{head!r} is neither an element nor one of Vac, Int, Ad")
    if head == site:
        raise LabelError(text, "a substitution puts another element on the site")
    return DefectLabel(DefectKind.SUBSTITUTION, site, head)


def defect_label(kind: str, element_from: str | None, element_to: str | None) -> str:
    """Canonical label of one defect, e.g. ``Vac_Mo``."""
    return str(DefectLabel(DefectKind(kind), element_from, element_to))


def join_labels(labels: Iterable[str]) -> str:
    """Canonical label of a pair, a triple or any complex: its defects' labels sorted and joined by ``-``."""
    return "-".join(sorted(labels))


def canonical_label(text: str, elements: Collection[str] = (), *, order: int | None = None) -> str:
    """Canonical form of a defect, pair or triple label given in any order and any accepted notation.

    ``order`` demands that many defects. Raises LabelError.
    """
    parts = [part for part in re.split(r"\s*-\s*", text.strip()) if part]
    if not parts or (order is not None and len(parts) != order):
        raise LabelError(text, f"expected {order or 'at least one'} defect label(s) joined by '-'")
    return join_labels(str(parse_defect(part, elements)) for part in parts)


def canonical_pair(text: str, elements: Collection[str] = ()) -> str:
    """Canonical pair label: ``canonical_pair('v_S-Vac_Mo') == 'Vac_Mo-Vac_S'``. Raises LabelError."""
    return canonical_label(text, elements, order=2)


def sql_identifier(label: str) -> str:
    """The label as part of a SQL macro name: ``Vac_Mo-Vac_S`` becomes ``Vac_Mo__Vac_S``."""
    return label.replace("-", "__")
