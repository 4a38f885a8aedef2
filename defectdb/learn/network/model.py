"""The network: MEGNet blocks over nodes, edges and the whole structure, then a read-out to one number.

Chen et al., Chem. Mater. 31, 3564 (2019); with graphs of defects alone Kazeev et al., npj Comput. Mater. 9, 113 (2023).
An edge has no direction: it sees the sum of its two nodes, so that the order of the defects does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from defectdb.learn.network.config import Architecture
from defectdb.learn.network.graph.elements import SYMBOLS

EDGE_NUMBERS = 3  # shell and its parity, and whether both ends are images of one defect
STATE_NUMBERS = 2  # defects per area, and how many there are
_LONGEST_DZ = 6.0  # angstrom


@dataclass(frozen=True)
class Batch:
    """The graphs of some structures as tensors.

    Attributes:
        before, now: atomic numbers, 0 for none [node]
        height: distance from the middle of the layer [node], angstrom
        first, second: the edge's nodes [edge]
        distance, dz, shell: of every edge, angstrom and rank [edge]
        node_graph, edge_graph: structure that a node or edge belongs to
        material: number of the material among those learned [structure]
        density: defects per square angstrom [structure]
        n_nodes: number of defects [structure]
    """

    before: Tensor
    now: Tensor
    height: Tensor
    first: Tensor
    second: Tensor
    distance: Tensor
    dz: Tensor
    shell: Tensor
    node_graph: Tensor
    edge_graph: Tensor
    material: Tensor
    density: Tensor
    n_nodes: Tensor


class Block(nn.Module):
    """One MEGNet block: edges, nodes and structure updated in turn, each beside what it was."""

    def __init__(self, width: int, hidden: int, aggregation: str) -> None:
        super().__init__()
        self.aggregation = aggregation
        self.enter = nn.ModuleList(nn.Linear(width, width) for _ in range(3))  # nodes, edges, structure
        self.edge_in = nn.ModuleList(nn.Linear(width, hidden, bias=not k) for k in range(3))
        self.node_in = nn.ModuleList(nn.Linear(width, hidden, bias=not k) for k in range(3))
        self.state_in = nn.ModuleList(nn.Linear(width, hidden, bias=not k) for k in range(3))
        self.middle = nn.ModuleList(nn.Linear(hidden, width) for _ in range(3))
        self.leave = nn.ModuleList(nn.Linear(width, width) for _ in range(3))

    def forward(self, v: Tensor, e: Tensor, u: Tensor, b: Batch) -> tuple[Tensor, Tensor, Tensor]:
        v0, e0, u0 = v, e, u  # [node, width], [edge, width], [structure, width]
        v, e, u = (silu(layer(x)) for layer, x in zip(self.enter, (v, e, u), strict=True))
        of_e, of_v, of_u = self.edge_in
        ends = of_v(v)
        e = self._rest(0, of_e(e) + ends[b.first] + ends[b.second] + of_u(u)[b.edge_graph])
        of_e, of_v, of_u = self.node_in
        v = self._rest(1, of_e(self._gather(e, b)) + of_v(v) + of_u(u)[b.node_graph])
        of_e, of_v, of_u = self.state_in
        n = len(u)
        u = self._rest(2, of_e(mean(e, b.edge_graph, n)) + of_v(mean(v, b.node_graph, n)) + of_u(u))
        return v0 + v, e0 + e, u0 + u

    def _rest(self, part: int, x: Tensor) -> Tensor:
        """The layers of one part after the first."""
        out: Tensor = self.leave[part](silu(self.middle[part](silu(x))))
        return out

    def _gather(self, e: Tensor, b: Batch) -> Tensor:
        """What the edges of every node bring it [node, width]; nothing where it has none."""
        ends, both, n = torch.cat((b.first, b.second)), torch.cat((e, e)), len(b.node_graph)
        if self.aggregation == "sum":
            return total(both, ends, n)
        if self.aggregation == "mean":
            return mean(both, ends, n)
        index = ends[:, None].expand_as(both)
        return both.new_zeros(n, both.shape[1]).scatter_reduce(0, index, both, "amax", include_self=False)


def total(x: Tensor, group: Tensor, n: int) -> Tensor:
    """Sum of the rows of every group [n, ...]."""
    return x.new_zeros(n, *x.shape[1:]).index_add(0, group, x)


def mean(x: Tensor, group: Tensor, n: int) -> Tensor:
    """Mean of the rows of every group [n, width]; 0 where it has none."""
    size = x.new_zeros(n).index_add(0, group, x.new_ones(len(x)))
    return total(x, group, n) / size.clamp(min=1)[:, None]


class Set2Set(nn.Module):
    """A set of any size as one vector of twice the width (Vinyals et al., arXiv 1511.06391); zeros for an empty one."""

    def __init__(self, width: int, steps: int) -> None:
        super().__init__()
        self.width, self.steps = width, steps
        self.cell = nn.LSTMCell(2 * width, width)

    def forward(self, x: Tensor, group: Tensor, n: int) -> Tensor:
        h = c = x.new_zeros(n, self.width)
        out = x.new_zeros(n, 2 * self.width)
        for _ in range(self.steps):
            h, c = self.cell(out, (h, c))
            score = (x * h[group]).sum(1)  # [row]
            top = score.new_zeros(n).scatter_reduce(0, group, score.detach(), "amax", include_self=False)
            weight = torch.exp(score - top[group])
            share = weight / total(weight, group, n)[group]
            out = torch.cat((h, total(share[:, None] * x, group, n)), 1)
        return out


class Network(nn.Module):
    """Standardised value of every structure [structure]."""

    def __init__(self, architecture: Architecture, n_materials: int) -> None:
        super().__init__()
        a, w = architecture, architecture.width
        self.architecture = a
        self.now = nn.Embedding(len(SYMBOLS) + 1, w)
        self.before = nn.Embedding(len(SYMBOLS) + 1, w)
        self.height = nn.Linear(a.centres_z, w)
        self.node = nn.Linear(w, w)
        self.edge = nn.Linear(a.centres_r + a.centres_z + EDGE_NUMBERS, w)
        self.material = nn.Embedding(n_materials, w)
        self.state = nn.Linear(STATE_NUMBERS, w)
        self.blocks = nn.ModuleList(Block(w, a.hidden, a.aggregation) for _ in range(a.blocks))
        if a.read_out == "set2set":
            self.sets = nn.ModuleList(Set2Set(w, a.steps) for _ in range(2))
            self.out = nn.Sequential(
                nn.Linear(5 * w, w), nn.SiLU(), nn.Linear(w, w // 2), nn.SiLU(), nn.Linear(w // 2, 1)
            )
        else:
            self.parts = nn.ModuleList(
                nn.Sequential(nn.Linear(w, w), nn.SiLU(), nn.Linear(w, 1)) for _ in range(3)
            )

    def forward(self, b: Batch) -> Tensor:
        v, e, u = self._enter(b)
        for block in self.blocks:
            v, e, u = block(v, e, u, b)
        n = len(u)
        if self.architecture.read_out == "set2set":
            nodes, edges = self.sets
            sets = torch.cat(
                (nodes(v, b.node_graph, n), edges(e, b.edge_graph, n), u), 1
            )  # [structure, 5 width]
            out: Tensor = self.out(sets)[:, 0]
            return out
        of_v, of_e, of_u = self.parts
        per_defect = total(of_v(v), b.node_graph, n) + total(of_e(e), b.edge_graph, n)
        per_site: Tensor = (per_defect + of_u(u))[:, 0] / b.n_nodes
        return per_site

    def _enter(self, b: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """First states of nodes, edges and structures."""
        a = self.architecture
        v = (
            self.now(b.now)
            + self.before(b.before)
            + self.height(gaussians(b.height, _LONGEST_DZ, a.centres_z))
        )
        shell = b.shell.to(b.distance.dtype)
        parity = torch.where(b.shell > 0, 1.0 - 2.0 * (b.shell % 2), 0.0).to(shell.dtype)
        own = (b.first == b.second).to(shell.dtype)
        e = torch.cat(
            (
                gaussians(b.distance, a.cutoff, a.centres_r),
                gaussians(b.dz, _LONGEST_DZ, a.centres_z),
                torch.stack((shell / 10, parity, own), 1),
            ),
            1,
        )
        u = torch.stack((100 * b.density, torch.log(b.n_nodes)), 1)
        return self.node(silu(v)), self.edge(e), self.material(b.material) + self.state(u)


def gaussians(x: Tensor, longest: float, count: int) -> Tensor:
    """``count`` Gaussians of every number [number, count], centres from 0 to ``longest``, as wide as their spacing."""
    centres = torch.linspace(0, longest, count, dtype=x.dtype, device=x.device)
    return torch.exp(-(((x[:, None] - centres) * ((count - 1) / longest)) ** 2) / 2)
