"""Frozen records of what a learner appends: runs, formulas, models and their terms."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, SkipValidation, model_validator

from defectdb.expressions.expression import Expression, n_constants, variables
from defectdb.schema.labels import COMPOSITION, formula_order

EVERY_DZ = 1e9
"""Upper end of a |dz| window that leaves nothing out, angstrom."""

PAIR_VARIABLES = ("r", "dz")
"""Variables of a pair kernel: distance and |dz|, angstrom."""

TRIPLE_VARIABLES = ("r12", "r13", "r23", "dz12", "dz13", "dz23")
"""Variables of a three-body term: edge lengths and |dz| of the edges, angstrom, as in view ``triples``."""

COMPOSITION_VARIABLES = ("n", "sites", "v", "interaction", "least", "most")
"""Variables of a composition formula beside ``n_vac_mo`` and the like, the number of defects of each label: the number
of all defects, the number of sites of the pristine supercell, what the model's other terms give, what pair kernels and
three-body terms of these add up to, and the smallest and largest value of any one-defect term or pair kernel of the
structure, eV."""

ANY_NUMBER = (1, 1_000_000)
"""Fewest and most defects of the structures that a model predicts which leaves none out."""

Aggregator = Literal["sum", "min", "max", "shift_min", "shift_max"]
Images = Literal["nearest", "sum"]
Status = Literal["candidate", "active", "retired", "stale"]
RunStatus = Literal["running", "done", "failed"]


def now() -> datetime:
    """This moment in UTC, without a time zone: how the database stores times."""
    return datetime.now(UTC).replace(tzinfo=None)


class Record(BaseModel):
    """A frozen row that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RunRecord(Record):
    """One run of a learner: what it was asked (``config`` is JSON), which rows it saw and why it failed, if it did."""

    kind: str
    config: str
    selection_sql: str
    selection_hash: str
    n_rows: int = Field(ge=0)
    seed: int
    device: str
    version: str
    status: RunStatus = "running"
    started_at: datetime = Field(default_factory=now)
    finished_at: datetime | None = None
    reason: str | None = None


class FormulaRecord(Record):
    """One learned formula: tree, constants, quality and the range it was learned on.

    ``pair_label`` is a pair ``Vac_Mo-Vac_S`` (variables r, dz), three labels joined by ``-`` (variables
    r12, r13, r23, dz12, dz13, dz23) or ``composition`` (variables n, sites, v, least, most and the numbers of defects
    of each label, n_vac_mo ...). A pair kernel holds for ``dz_min <= |dz| < dz_max`` (angstrom); outside
    ``[r_min, r_max]`` (angstrom; of a composition: the number of defects) it extrapolates. From ``cutoff`` (angstrom)
    on a pair is worth nothing, and so is a triangle of which two edges are that long. Errors are in the target's unit.
    """

    run_id: int
    material_id: str
    pair_label: str
    target: str
    expression: Annotated[Expression, SkipValidation]
    constants: tuple[FiniteFloat, ...] = ()
    constant_errors: tuple[float, ...] | None = None
    n_train: int = Field(ge=0)
    mae_train: float = Field(ge=0)
    mae_cv: float | None = None
    mae_cv_interior: float | None = None
    law: str | None = None
    bic: float | None = None
    description_length: float | None = None
    r_min: float = Field(ge=0)
    r_max: float
    dz_min: float = Field(default=0.0, ge=0)
    dz_max: float = EVERY_DZ
    cutoff: float | None = Field(default=None, gt=0)
    images: Images = "nearest"
    status: Status = "candidate"
    created_at: datetime = Field(default_factory=now)

    @property
    def order(self) -> int:
        """Number of defects the formula is about: 2, 3, or 0 for a composition."""
        return formula_order(self.pair_label)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.order not in (0, 2, 3):
            raise ValueError(
                f"a formula is about two or three defects or a composition, not {self.pair_label!r}"
            )
        allowed = {0: COMPOSITION_VARIABLES, 2: PAIR_VARIABLES, 3: TRIPLE_VARIABLES}[self.order]
        used = {name for name in variables(self.expression) if self.order or not name.startswith("n_")}
        if strangers := used - set(allowed):
            raise ValueError(
                f"{self.pair_label}: unknown variable {sorted(strangers)}; known: {', '.join(allowed)}"
            )
        if (needed := n_constants(self.expression)) > len(self.constants):
            raise ValueError(
                f"{self.pair_label}: {needed} constants in the formula, {len(self.constants)} given"
            )
        if not self.dz_min < self.dz_max:
            raise ValueError(f"{self.pair_label}: the |dz| window [{self.dz_min}, {self.dz_max}) is empty")
        if not self.r_min <= self.r_max:
            raise ValueError(f"{self.pair_label}: the range [{self.r_min}, {self.r_max}] is empty")
        return self


class ModelRecord(Record):
    """A whole-material model of one target: how terms combine, how well, and for which numbers of defects."""

    run_id: int
    material_id: str
    target: str
    aggregator: Aggregator
    images: Images = "nearest"
    n_defects_min: int = Field(default=ANY_NUMBER[0], ge=1)
    n_defects_max: int = ANY_NUMBER[1]
    trained_on: str
    n_train: int = Field(ge=0)
    mae_train: float | None = None
    mae_cv: float | None = None
    interval_90: float | None = None
    status: Status = "candidate"
    created_at: datetime = Field(default_factory=now)


class TermRecord(Record):
    """One term of a model: order 0 host offset or composition, 1 one-defect value, 2 pair kernel, 3 three-body term.

    The offset and order 1 have a ``value``; a composition and orders 2 and 3 a ``formula_id``, or a constant
    ``value`` (0 for a pair whose interaction was found to be nothing).
    """

    order: int = Field(ge=0, le=3)
    label: str
    formula_id: int | None = None
    value: FiniteFloat | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.formula_id is None) == (self.value is None):
            raise ValueError(f"term {self.label!r} needs either a formula or a value")
        if self.order < 2 and self.value is None and (self.order, self.label) != (0, COMPOSITION):
            raise ValueError(f"term {self.label!r} of order {self.order} is a value, not a formula")
        return self


class NetworkRecord(Record):
    """One trained graph network, as in table ``networks``: what it predicts, how it is built, and its weights."""

    run_id: int
    target: str
    materials: tuple[str, ...] = Field(min_length=1)
    hosts: tuple[str, ...] = Field(min_length=1)
    learned_on: Literal["values", "residuals"] = "values"
    model_ids: tuple[int, ...] = ()
    recipe: str
    architecture: str
    baseline: str
    n_members: int = Field(ge=1)
    n_parameters: int = Field(ge=1)
    n_train: int = Field(ge=0)
    n_defects_min: int = Field(ge=1)
    n_defects_max: int = Field(ge=1)
    data_hash: str
    seed: int
    seconds: float = Field(ge=0)
    mae_train: float | None = None
    mae_held: float | None = None
    weights: bytes
    status: Status = "candidate"
    created_at: datetime = Field(default_factory=now)
