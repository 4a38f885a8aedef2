"""A trained ensemble as it is stored, and what it predicts for graphs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from defectdb.errors import InputDataError
from defectdb.expressions.arrays import Floats, Integers
from defectdb.learn.network.baseline import Baseline, material_numbers
from defectdb.learn.network.batches import to_device
from defectdb.learn.network.config import Architecture
from defectdb.learn.network.graph.graphs import Graphs
from defectdb.learn.network.model import Network
from defectdb.learn.network.weights import Arrays, from_bytes, to_bytes

_ROWS_AT_ONCE = 30_000  # nodes and edges of one batch: more no longer fit a core's cache


@dataclass(frozen=True)
class Ensemble:
    """Trained networks whose mean predicts.

    Attributes:
        architecture: of every member
        baseline: what is added to their output, and the materials and kinds of defects that were learned
        members: the networks
    """

    architecture: Architecture
    baseline: Baseline
    members: Sequence[Network]

    @property
    def n_parameters(self) -> int:
        """Numbers of all members together."""
        return sum(p.numel() for member in self.members for p in member.parameters())

    def predict(self, graphs: Graphs, device: str = "cpu") -> tuple[Floats, Floats]:
        """Value and standard deviation over the members [structure], eV; NaN for a kind of defect not learned.

        Of an energy the value is per site. One member has no deviation: NaN.
        """
        value = self.baseline.predict(graphs)
        material = material_numbers(graphs, self.baseline.materials)
        out = np.full((len(self.members), len(graphs)), np.nan)
        known = np.isfinite(value)
        on_device = to_device(graphs, material.clip(0), device)
        for rows in _portions(graphs, np.flatnonzero(known)):
            batch = on_device.choose(torch.as_tensor(rows, device=device))
            with torch.inference_mode():
                for k, member in enumerate(self.members):
                    out[k, rows] = member(batch).double().cpu().numpy()
        out = out * self.baseline.scale + self.baseline.mean
        spread = out.std(0, ddof=1) if len(out) > 1 else np.full(len(graphs), np.nan)
        return value + out.mean(0), spread


def _portions(graphs: Graphs, rows: Integers) -> Iterator[Integers]:
    """The structures in portions of about as much work each."""
    work = np.cumsum((graphs.n_nodes + graphs.n_edges)[rows])
    ends = np.searchsorted(work, np.arange(_ROWS_AT_ONCE, int(work[-1]) if len(work) else 0, _ROWS_AT_ONCE))
    for part in np.split(rows, np.unique(ends)):
        if len(part):
            yield part


def ensemble_bytes(members: Sequence[Arrays]) -> bytes:
    """Weights of all members, each name led by its member's number."""
    return to_bytes(
        {f"{k}.{name}": array for k, member in enumerate(members) for name, array in member.items()}
    )


def read_ensemble(row: Mapping[str, Any], device: str = "cpu") -> Ensemble:
    """The ensemble of a row of ``networks``. Raises InputDataError where the row's parts do not fit each other."""
    where = f"network {row['network_id']}"
    try:
        architecture = Architecture.model_validate_json(row["architecture"])
        baseline = _read_baseline(json.loads(row["baseline"]))
    except (ValidationError, ValueError, TypeError, KeyError) as error:
        why = str(error).splitlines()[0]
        raise InputDataError(
            f"{where}: its architecture or baseline cannot be read ({why}); train it again"
        ) from error
    arrays, _ = from_bytes(row["weights"], where)
    members = []
    for k in range(row["n_members"]):
        own = {name.split(".", 1)[1]: x for name, x in arrays.items() if name.startswith(f"{k}.")}
        members.append(_network(architecture, len(baseline.materials), own, where).to(device))
    return Ensemble(architecture, baseline, members)


def _read_baseline(data: Any) -> Baseline:
    baseline = Baseline(
        tuple(map(str, data["materials"])), tuple(map(str, data["kinds"])), tuple(map(float, data["values"])),
        tuple(map(float, data["offsets"])), float(data["mean"]), float(data["scale"]),
    )  # fmt: skip
    if (len(baseline.kinds), len(baseline.materials)) != (len(baseline.values), len(baseline.offsets)):
        raise ValueError("as many values as kinds and materials are needed")
    return baseline


def baseline_json(baseline: Baseline) -> str:
    """The baseline as it is stored."""
    return json.dumps(asdict(baseline))


def _network(architecture: Architecture, n_materials: int, arrays: Arrays, where: str) -> Network:
    """The network with these weights. Raises InputDataError where they are not those of its architecture."""
    with torch.device("meta"):
        network = Network(architecture, n_materials)
    wanted = {name: tuple(x.shape) for name, x in network.state_dict().items()}
    found = {name: array.shape for name, array in arrays.items()}
    if wanted != found:
        wrong = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))[0]
        raise InputDataError(
            f"{where}: its weights do not fit its architecture ({wrong} is {found.get(wrong, 'missing')}, not "
            f"{wanted.get(wrong, 'expected')}); train it again"
        )
    network.load_state_dict({name: torch.as_tensor(x) for name, x in arrays.items()}, assign=True)
    return network.eval()


def network_arrays(network: Network) -> Arrays:
    """The weights by name."""
    return {name: x.detach().cpu().numpy().copy() for name, x in network.state_dict().items()}
