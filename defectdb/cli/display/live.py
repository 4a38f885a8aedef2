"""Show the progress of searches: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from defectdb.cli.display.terminal import say

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.progress import Progress as KernelsBar
    from rich.table import Table
    from rich.text import Text

    from defectdb.cli import Settings
    from defectdb.engine.search.outcome import Generation
    from defectdb.learn import Progress
    from defectdb.learn.pairs.kernel_task import Kernel, KernelTask

_ROWS = 12  # generations that the table shows, the latest
_AROUND = 9  # lines that the rest of the display takes
_COLUMNS = ("gen.", "candidates", "per s", "unique", "new", "safe", "KL", "RMSE, meV")
_FIRST = "small formulas and sums of them"  # what a search tries before its first generation
_MEV = 1000.0  # meV in an eV, the unit of every target


class LearnDisplay:
    """The progress of a learning job, all on stderr: ``with LearnDisplay(...) as display``.

    On a terminal a table of the generations of the search in progress, or of the latest generation of every search
    in other processes, and for several kernels a bar over them; else a line for every generation, of several searches
    with their names. A line for every finished kernel in both. ``time_limit`` in seconds and ``generations`` are those
    of one search.
    """

    def __init__(self, settings: Settings, time_limit: float, generations: int) -> None:
        self.settings, self.time_limit, self.last = settings, time_limit, generations
        self.bar = _kernels_bar()
        self.task: Any = None
        self.done, self.total = 0, 0
        self.begin = time.monotonic()
        self.history: list[Generation] = []
        # of every (kernel, island): when it began, its latest generation
        self.latest: dict[tuple[str, str], tuple[float, Generation]] = {}
        self.live: Live | None = None

    def __enter__(self) -> LearnDisplay:
        if self.settings.progress:
            from rich.console import Console
            from rich.live import Live

            self.live = Live(get_renderable=self.render, console=Console(stderr=True), refresh_per_second=4)
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.transient = self.total > 1 or not self.history
            self.live.stop()

    def progress(self) -> Progress:
        """The hooks to give to the learner."""
        from defectdb.learn import Progress

        return Progress(
            kernel=self._kernel,
            generation=self._generation,
            worker_generation=self._worker_generation,
            note=self._say,
        )

    def _kernel(self, kernel: Kernel | None, done: int, total: int) -> None:
        self.done, self.total, self.begin = done, total, time.monotonic()
        if self.task is None:
            self.task = self.bar.add_task("kernels", total=total)
        self.bar.update(self.task, completed=done, total=total)
        if total > 1:
            self.history = []
            if kernel is not None:
                self.latest = {at: s for at, s in self.latest.items() if at[0] != kernel.task.name}
                self._say(_finished(kernel))

    def _worker_generation(self, task: KernelTask, generation: Generation) -> None:
        at = task.name, _island(task)
        begin, _ = self.latest.get(at, (time.monotonic() - generation.seconds, None))
        self.latest = {**self.latest, at: (begin, generation)}  # a new one: the display reads it meanwhile
        if self.live is None:
            self._say(_line(generation, f"{task.name}{_island(task)}: "))

    def _generation(self, task: KernelTask, generation: Generation) -> None:
        if generation.generation == 0:  # of several islands each has the time to itself
            self.history, self.begin = [], time.monotonic() - generation.seconds
        self.history.append(generation)
        if self.live is None:
            several = self.total > 1 or task.islands > 1
            self._say(_line(generation, f"{task.name}{_island(task)}: " if several else ""))

    def _say(self, line: str) -> None:
        """One line of narration, above the live display where there is one."""
        if self.live is None:
            say(self.settings, line)
        else:
            self.live.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def render(self) -> RenderableType:
        """The display as it is now."""
        from rich.console import Group

        parts: list[RenderableType] = []
        if self.total > 1:
            parts.append(self.bar)
        if self.history:
            parts += [self._table(), _reached(self.history[-1])]
        if self.history or (self.total == 1 and not self.latest):
            parts.append(self._clock())
        elif self.latest:
            parts.append(self._side_by_side())
        elif self.done < self.total:
            parts.append(
                _dim(f"{_FIRST} first, then generations; {_minutes(self.time_limit)} a search at the most")
            )
        return Group(*parts)

    def _table(self) -> Table:
        """The latest generations, one a row."""
        table = _table_of(*_COLUMNS)
        for generation in self.history[-self._room(_ROWS) :]:
            table.add_row(*_cells(generation))
        return table

    def _side_by_side(self) -> Table:
        """The latest generation of every search in other processes, with its time left."""
        table = _table_of("search", "left", *_COLUMNS[:1], *_COLUMNS[3:])
        shown = sorted(self.latest.items())[: self._room(len(self.latest))]
        for (name, island), (begin, generation) in shown:
            left = max(0.0, begin + self.time_limit - time.monotonic())
            number, _, _, *rest = _cells(generation)
            table.add_row(name + island, _minutes(left), number, *rest)
        return table

    def _room(self, rows: int) -> int:
        """So many rows, or fewer where the terminal is low."""
        height = self.live.console.height if self.live is not None else rows + _AROUND
        return max(3, min(rows, height - _AROUND))

    def _clock(self) -> Text:
        """What the search is at and how much time is left."""
        gone = time.monotonic() - self.begin
        left = max(0.0, self.time_limit - gone)
        if self.done and self.done == self.total:
            return _dim(f"{len(self.history)} generations")
        if not self.history:
            state = _FIRST
        elif left == 0.0 or self.history[-1].generation >= self.last:
            state = "finishing the front"
        else:
            state = f"generation {self.history[-1].generation + 1} of {self.last}"
        return _dim(f"{state}   {_minutes(gone)} gone, {_minutes(left)} left at the most")


def _dim(text: str) -> Text:
    from rich.text import Text

    return Text(text, style="dim")


def _kernels_bar() -> KernelsBar:
    """A bar with count and time; how long each kernel takes says little about the next."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as KernelsBar

    return KernelsBar(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    )


def _table_of(*columns: str) -> Table:
    """An empty table with these columns; numbers on the right, none of them cut off."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in columns:
        table.add_column(name, justify="left" if name == "search" else "right", no_wrap=True)
    return table


def _cells(g: Generation) -> list[str]:
    """A generation's row of the table."""
    rate = g.n_candidates / g.seconds if g.seconds > 0 else 0.0
    return [
        str(g.generation),
        f"{g.n_candidates:,}",
        f"{rate:,.0f}",
        f"{g.n_unique / max(1, g.n_candidates):.0%}",
        f"{g.n_new / max(1, g.n_candidates):.0%}",
        f"{g.n_in_domain / max(1, g.n_new):.0%}",
        f"{g.kl:.1f}" if g.kl else "",
        f"{_MEV * g.best_mse**0.5:.4g}",
    ]


def _reached(generation: Generation) -> Table:
    """The lowest error at every length where it falls, as many beside one another as the terminal has room for."""
    from rich.columns import Columns
    from rich.table import Table
    from rich.text import Text

    steps = [Text(f"{size}: {_MEV * mse**0.5:.3g}") for size, mse in generation.reached]
    table = Table.grid(padding=(0, 2))
    table.add_row("RMSE by tokens", Columns(steps, padding=(0, 2)))
    return table


def _island(task: KernelTask) -> str:
    """Which of several searches of one kernel it is."""
    return "" if task.islands == 1 else f" #{task.island + 1}"


def _line(g: Generation, search: str) -> str:
    """A generation on one line, behind the name of its ``search``."""
    rate = g.n_new / g.seconds if g.seconds > 0 else 0.0
    return (
        f"{search}generation {g.generation:3d}  candidates {g.n_candidates:6d}  unique {g.n_unique:6d}  "
        f"new {g.n_new:6d}  in domain {g.n_in_domain:6d}  {rate:8.0f} fits/s  "
        f"best RMSE {_MEV * g.best_mse**0.5:9.3f} meV"
    )


def _finished(kernel: Kernel) -> str:
    """A learned kernel on one line."""
    best = kernel.front[kernel.chosen]
    return (
        f"{kernel.task.name}: {len(kernel.front)} formulas on the front, chosen {best.complexity} tokens, "
        f"MAE {_MEV * best.mae:.2f} meV, {kernel.seconds:.1f} s"
    )


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
