"""The options of a learner with their defaults; importable without torch. Stored with every run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from defectdb.engine.settings import ModelConfig, SearchConfig
from defectdb.errors import UnknownNameError, UsageError
from defectdb.expressions.operators import OPERATORS
from defectdb.schema.records import Images

if TYPE_CHECKING:
    from defectdb.engine.grammar.grammar import Grammar

CORE_OPERATORS = ("add", "sub", "mul", "div", "neg", "inv", "square", "exp", "cos", "tanh")
"""Operators of which every small skeleton is tried: decays and oscillations (a sine is a cosine with a phase)."""

KERNEL_OPERATORS = (*CORE_OPERATORS, "cube", "sqrt", "log", "sin")
"""Operators that the search may use."""

EXHAUSTIVE = 140_000
"""Skeletons that are all tried first at the most: those of eight tokens of the core operators, of seven of all."""

SEEDS = 2**63
"""Seeds are stored in 64 bits with a sign: from -SEEDS to SEEDS - 1."""

SUMMANDS = 3
"""Summands of a kernel with a coefficient, and so a unit, of their own: as many as ``Problem.max_terms``."""


class LearnConfig(BaseModel):
    """Options of one learning job. Times in seconds.

    ``datasets`` are ids or names, none means all. ``max_tokens`` bounds a finished formula, constants included,
    ``max_term`` a whole term of a model of all structures (a product of two functions, a function of several edges).
    ``allowed`` are operators beside ``operators``; ``required`` and ``forbidden`` are of these. Of all kernels of a
    material the shortest formulas of that ``accuracy`` (eV for a structure) or the most accurate ones of together that
    many ``tokens`` are used; without either those beyond which tokens do not pay. Raises UnknownNameError for an
    operator that there is not, and UsageError for one that formulas cannot use or must both use and not use.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str = "formation_energy"
    material: str | None = None
    datasets: tuple[str, ...] = ()
    where: str | None = None
    images: Images = "nearest"
    protocol: Literal["pairs", "all"] = "pairs"
    decay: bool = False
    seed: int = Field(default=0, ge=-SEEDS, lt=SEEDS)
    device: str = "auto"
    time_limit: float = Field(default=300.0, gt=0, allow_inf_nan=False)
    generations: int = Field(default=12, ge=0)
    population: int = Field(default=4000, ge=64)
    exhaustive_size: int = Field(default=8, ge=1, le=9)
    max_tokens: int = Field(default=25, ge=5, le=60)
    max_term: int | None = Field(default=None, ge=11, le=200)
    operators: tuple[str, ...] = KERNEL_OPERATORS
    allowed: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    warm: bool = False
    nested: bool = False
    accuracy: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    tokens: int | None = Field(default=None, ge=1)
    conditional: bool = False
    units: bool = False
    islands: int = Field(default=1, ge=1, le=64)
    workers: int = Field(default=0, ge=0)
    activate: bool = True

    @model_validator(mode="after")
    def _operators_there(self) -> Self:
        """A record whose formulas cannot be written is not made."""
        self._check_operators()
        return self

    def _check_operators(self) -> None:
        for name in (*self.allowed, *self.required, *self.forbidden):
            if name not in OPERATORS:
                raise UnknownNameError("operator", name, list(OPERATORS))
        for name in self.required:
            if name not in (*self.operators, *self.allowed):
                raise UsageError(
                    f"formulas do not use {name} by themselves: add --allow {name} to --require {name}"
                )
            if name in self.forbidden:
                raise UsageError(f"{name} is both required and forbidden; leave out one of the two")

    def grammar(self, variables: tuple[str, ...] = ("r",)) -> Grammar:
        """The formulas to search: the finished formula's tokens less what coefficients and offset take.

        Raises as the record itself does.
        """
        from defectdb.engine.grammar.grammar import Grammar
        from defectdb.expressions.dimensions import ENERGY, kernel_unit

        self._check_operators()  # copies with other fields are not validated
        operators = tuple(dict.fromkeys((*self.operators, *self.allowed)))
        return Grammar(
            variables=variables,
            operators=operators,
            max_length=max(3, self.max_tokens - 4),
            required=self.required,
            forbidden=self.forbidden,
            units=tuple(kernel_unit(name)[:1] for name in variables) if self.units else (),
            summands=SUMMANDS if self.units else 1,
            value_unit=ENERGY if self.units else (),
        )

    def search(self, device: str) -> SearchConfig:
        """The search's own settings."""
        return SearchConfig(
            seed=self.seed,
            generations=self.generations,
            time_limit=self.time_limit,
            population=self.population,
            max_complexity=self.max_tokens,
            device=device,
            exhaustive_size=self.exhaustive_size,
            model=ModelConfig(conditional=self.conditional),
            exhaustive_limit=EXHAUSTIVE,
            exhaustive_operators=tuple(o for o in CORE_OPERATORS if o in self.operators),
        )


def resolve_device(name: str) -> str:
    """``auto`` takes CUDA where there is one. Raises UsageError for a device that is not there."""
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"unknown device {name!r}; try auto, cpu, cuda")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UsageError("no CUDA device is available to this torch; try --device cpu")
    return "cuda" if name == "cuda" or (name == "auto" and available) else "cpu"
