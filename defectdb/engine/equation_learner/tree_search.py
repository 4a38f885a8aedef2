"""Monte Carlo tree search over a box of continuous actions, with least squares in every playout.

A node is a point. Its children lie in a window around it that shrinks with depth; how many it may have grows with its
visits (progressive widening, Couetoux et al., LION 5, 2011); which is followed is decided by upper confidence bounds
(Auer et al., Mach. Learn. 47, 235, 2002) on rewards scaled by the spread of all losses seen. Every playout ends in the
nearest minimum, so that the tree moves among minima.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from defectdb.expressions.arrays import Floats

Playout = Callable[[Floats], tuple[float, Floats]]
"""From a point to the loss that a descent from it reaches, and the point where it ends."""


@dataclass(slots=True, eq=False)
class Node:
    """A point that was played.

    ``point`` [dimension]: where its playout ended.
    ``loss``: what it reached.
    ``depth``: 0 for the root.
    ``visits``: playouts at and below it.
    ``best``: lowest loss at and below it.
    ``children``: points tried around it.
    """

    point: Floats
    loss: float
    depth: int
    visits: int = 1
    best: float = math.inf
    children: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TreeSettings:
    """How the tree grows.

    ``exploration``: weight of the confidence bound.
    ``widening``, ``widening_power``: a node has at most ``widening * visits ** widening_power`` children.
    ``window``, ``shrinking``: half width of the window around the first generation's points, and its factor from
    depth to depth.
    ``moved``: share of the coordinates that a child changes.
    """

    exploration: float = 0.3
    widening: float = 2.0
    widening_power: float = 0.6
    window: float = 0.5
    shrinking: float = 0.7
    moved: float = 0.35


class TreeSearch:
    """A tree that grows by one playout at a time; ``best`` is the node of the lowest loss."""

    def __init__(
        self,
        dimension: int,
        playout: Playout,
        generator: np.random.Generator,
        settings: TreeSettings | None = None,
    ) -> None:
        self.dimension, self.playout, self.generator = dimension, playout, generator
        self.settings = settings or TreeSettings()
        self.root = Node(np.full(dimension, 0.5), math.inf, 0)
        self.losses: list[float] = []

    def step(self) -> Node:
        """One playout: descend, try a new point, tell the nodes above it; the new node."""
        path = self._descend()
        loss, point = self.playout(self._child_point(path[-1]))
        node = Node(point, loss, path[-1].depth + 1, best=loss)
        path[-1].children.append(node)
        if math.isfinite(loss):
            self.losses.append(loss)
        for above in path:
            above.visits += 1
            above.best = min(above.best, loss)
        return node

    def _descend(self) -> list[Node]:
        """From the root to the node that gets a child."""
        path = [self.root]
        s = self.settings
        low, spread = self._scale()
        while True:
            node = path[-1]
            if not node.children or len(node.children) < s.widening * node.visits**s.widening_power:
                return path
            path.append(max(node.children, key=lambda child: self._bound(child, node, low, spread)))

    def _scale(self) -> tuple[float, float]:
        """Lowest logarithm of a loss so far, and the spread of the better half."""
        logs = np.log(np.maximum(self.losses, 1e-300)) if self.losses else np.zeros(1)
        low = float(logs.min())
        return low, max(float(np.median(logs)) - low, 1e-6)

    def _bound(self, child: Node, parent: Node, low: float, spread: float) -> float:
        if not math.isfinite(child.best):
            return -math.inf
        reward = math.exp(-(math.log(max(child.best, 1e-300)) - low) / spread)
        return reward + self.settings.exploration * math.sqrt(math.log(parent.visits) / child.visits)

    def _child_point(self, node: Node) -> Floats:
        """A point anywhere under the root, within the window of the depth elsewhere."""
        draw = self.generator.random(self.dimension)
        if node.depth == 0:
            return draw
        s = self.settings
        width = s.window * s.shrinking ** (node.depth - 1)
        moved = self.generator.random(self.dimension) < s.moved
        moved[self.generator.integers(self.dimension)] = True
        point = np.where(moved, node.point + width * (2.0 * draw - 1.0), node.point)
        return np.abs(1.0 - np.abs(1.0 - point))  # reflected at the walls
