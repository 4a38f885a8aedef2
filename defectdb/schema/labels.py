"""Defect and pair labels: the canonical form of the notations people write (v_Mo, Va_Mo, Vac_S^-1, W_Mo)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from defectdb.errors import AmbiguousLabelError, LabelError

ELEMENTS: tuple[str, ...] = tuple(
    """H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr
    Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu
    Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr
    Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og""".split()  # noqa: SIM905
)
_ELEMENT_SET = frozenset(ELEMENTS)
_LABEL = re.compile(r"([A-Za-z]+)_([A-Z][a-z]?)(?:\^([+-]?[0-9]{1,2}|[0-9]?[+-]))?")
_VACANCY = frozenset({"vac", "va", "v"})
_JOINT = re.compile(r"\s*(?<!\^)(?<!\^[0-9])-\s*")  # a hyphen between labels, not one of a charge


class DefectKind(StrEnum):
    """The four kinds of point defect."""

    VACANCY = "vacancy"
    SUBSTITUTION = "substitution"
    INTERSTITIAL = "interstitial"
    ADATOM = "adatom"


@dataclass(frozen=True, slots=True)
class DefectLabel:
    """One point defect.

    kind          vacancy, substitution, interstitial or adatom
    element_from  host element that is gone, None for an interstitial or adatom
    element_to    element that is there instead, None for a vacancy
    charge        in elementary charges, 0 for a neutral defect
    """

    kind: DefectKind
    element_from: str | None
    element_to: str | None
    charge: int = 0

    def __str__(self) -> str:
        return self.neutral + (f"^{self.charge:+d}" if self.charge else "")

    @property
    def neutral(self) -> str:
        """The label without its charge, as the tables hold it."""
        match self.kind:
            case DefectKind.VACANCY:
                return f"Vac_{self.element_from}"
            case DefectKind.SUBSTITUTION:
                return f"{self.element_to}_{self.element_from}"
            case DefectKind.INTERSTITIAL:
                return f"Int_{self.element_to}"
            case DefectKind.ADATOM:
                return f"Ad_{self.element_to}"


def parse_defect(text: str, known: Collection[str] = ()) -> DefectLabel:
    """Read one defect label that a person wrote.

    ``V_Mo`` is read as vanadium on an Mo site where ``known``, the labels of the database, has it. Elsewhere it
    could as well be a vacancy: AmbiguousLabelError. Raises LabelError for text that is no label.
    """
    label = stored_defect(text.strip(), text)
    if text.strip().startswith("V_") and label.neutral not in known:
        raise AmbiguousLabelError(text, str(label.element_from))
    return label


def stored_defect(label: str, shown: str | None = None) -> DefectLabel:
    """Read one label as the database holds it, in which ``V_Mo`` is always vanadium. Raises LabelError."""
    text = label if shown is None else shown
    match = _LABEL.fullmatch(label)
    if match is None:
        raise LabelError(text, "expected KIND_ELEMENT or ELEMENT_SITE")
    head, site, charge = match.groups()
    if site not in _ELEMENT_SET:
        raise LabelError(text, f"{site!r} is no element")
    return DefectLabel(*_kind_and_elements(head, site, text), charge=_charge(charge))


def _kind_and_elements(head: str, site: str, text: str) -> tuple[DefectKind, str | None, str | None]:
    lower = head.lower()
    if lower in _VACANCY and head != "V":
        return DefectKind.VACANCY, site, None
    if lower in {"int", "i"} and head != "I":
        return DefectKind.INTERSTITIAL, None, site
    if lower in {"ad", "ads"}:
        return DefectKind.ADATOM, None, site
    if head not in _ELEMENT_SET:
        raise LabelError(text, f"{head!r} is neither an element nor one of Vac, Int, Ad")
    if head == site:
        raise LabelError(text, "a substitution puts another element on the site")
    return DefectKind.SUBSTITUTION, site, head


def _charge(text: str | None) -> int:
    """The charge that stands behind ``^``: -1, +2 or, the sign last, 1- and 2+."""
    if not text:
        return 0
    if text[-1] in "+-":
        return int(f"{text[-1]}{text[:-1] or '1'}")
    return int(text)


def is_label(text: str) -> bool:
    """Whether the text is a canonical defect, pair or triple label, spelled as the database holds it."""
    try:
        return text != "" and join_labels(str(stored_defect(part)) for part in split_label(text)) == text
    except LabelError:
        return False


def split_label(label: str) -> list[str]:
    """The defect labels of a pair, triple or any complex: ``Vac_S^-1-W_Mo`` gives Vac_S^-1 and W_Mo."""
    return [part for part in _JOINT.split(label.strip()) if part]


def without_charge(label: str) -> tuple[str, int | None]:
    """The canonical label without charges, and the charge of all its defects together (None: none was written)."""
    parts = [stored_defect(part) for part in split_label(label)]
    charge = sum(part.charge for part in parts) if "^" in label else None
    return join_labels(part.neutral for part in parts), charge


def defect_label(kind: str, element_from: str | None, element_to: str | None) -> str:
    """Canonical label of one defect, e.g. ``Vac_Mo``."""
    return str(DefectLabel(DefectKind(kind), element_from, element_to))


def join_labels(labels: Iterable[str]) -> str:
    """Canonical label of a pair, a triple or any complex: its defects' labels sorted and joined by ``-``."""
    return "-".join(sorted(labels))


def canonical_label(text: str, known: Collection[str] = (), *, order: int | None = None) -> str:
    """Canonical form of a defect, pair or triple label given in any order and any accepted notation.

    ``known`` are the defect labels of the database (see parse_defect); ``order`` demands that many defects.
    Raises LabelError.
    """
    parts = split_label(text)
    if not parts or (order is not None and len(parts) != order):
        raise LabelError(text, f"expected {order or 'at least one'} defect label(s) joined by '-'")
    return join_labels(str(parse_defect(part, known)) for part in parts)


def canonical_pair(text: str, known: Collection[str] = ()) -> str:
    """Canonical pair label: ``canonical_pair('v_S-Vac_Mo') == 'Vac_Mo-Vac_S'``. Raises LabelError."""
    return canonical_label(text, known, order=2)


COMPOSITION = "composition"
"""Label of a formula in the numbers of defects of a structure, not in the distances between them."""


def formula_order(label: str) -> int:
    """Number of defects that a formula is about: 2 for a pair label, 3 for a triple label, 0 for a composition."""
    return 0 if label == COMPOSITION else label.count("-") + 1


def count_variable(label: str) -> str:
    """The variable of a composition formula that counts the defects of this label: ``Vac_Mo`` gives ``n_vac_mo``."""
    return "n_" + label.lower()


def sql_identifier(label: str) -> str:
    """The label as part of a SQL macro name: ``Vac_Mo-Vac_S`` becomes ``Vac_Mo__Vac_S``."""
    return "__".join(part.replace("^-", "_minus_").replace("^+", "_plus_") for part in split_label(label))
