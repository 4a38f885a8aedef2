"""Graphs on a device, and any choice of their structures as one batch, without a loop over structures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from defectdb.expressions.arrays import Integers
from defectdb.learn.network.graph.graphs import Graphs
from defectdb.learn.network.model import Batch


@dataclass(frozen=True)
class DeviceGraphs:
    """All graphs of a job as tensors; ``node_start`` and ``edge_start`` say where a structure's rows begin."""

    whole: Batch
    node_start: Tensor
    n_nodes: Tensor
    edge_start: Tensor
    n_edges: Tensor

    def choose(self, rows: Tensor) -> Batch:
        """The structures ``rows`` (numbers, in any order) as a batch of their own."""
        w = self.whole
        node, node_graph = spans(self.node_start[rows], self.n_nodes[rows])
        edge, edge_graph = spans(self.edge_start[rows], self.n_edges[rows])
        n = self.n_nodes[rows]
        moved = (torch.cumsum(n, 0) - n - self.node_start[rows])[edge_graph]
        return Batch(
            before=w.before[node], now=w.now[node], height=w.height[node],
            first=w.first[edge] + moved, second=w.second[edge] + moved,
            distance=w.distance[edge], dz=w.dz[edge], shell=w.shell[edge],
            node_graph=node_graph, edge_graph=edge_graph,
            material=w.material[rows], density=w.density[rows], n_nodes=w.n_nodes[rows],
        )  # fmt: skip


def spans(start: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Rows ``start`` to ``start + size`` of every span one after the other, and the number of the span of each."""
    group = torch.repeat_interleave(torch.arange(len(size), device=size.device), size)
    skipped = start - (torch.cumsum(size, 0) - size)
    return torch.arange(len(group), device=size.device) + skipped[group], group


def to_device(
    graphs: Graphs, material: Integers, device: str, dtype: torch.dtype = torch.float32
) -> DeviceGraphs:
    """The graphs as tensors; ``material`` is the number of every structure's material among those learned."""

    def numbers(x: object) -> Tensor:
        return torch.as_tensor(np.array(x, dtype=np.float64), device=device).to(dtype)

    def integers(x: object) -> Tensor:
        return torch.as_tensor(np.array(x, dtype=np.int64), device=device)

    count = np.arange(len(graphs))
    n_nodes, n_edges = integers(graphs.n_nodes), integers(graphs.n_edges)
    whole = Batch(
        before=integers(graphs.before), now=integers(graphs.now), height=numbers(graphs.height),
        first=integers(graphs.first), second=integers(graphs.second),
        distance=numbers(graphs.distance), dz=numbers(graphs.dz), shell=integers(graphs.shell),
        node_graph=integers(np.repeat(count, graphs.n_nodes)), edge_graph=integers(np.repeat(count, graphs.n_edges)),
        material=integers(material), density=numbers(graphs.n_nodes / graphs.area), n_nodes=numbers(graphs.n_nodes),
    )  # fmt: skip
    return DeviceGraphs(
        whole, torch.cumsum(n_nodes, 0) - n_nodes, n_nodes, torch.cumsum(n_edges, 0) - n_edges, n_edges
    )
