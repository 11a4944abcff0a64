"""Progress on the terminal: the stage, a bar, and the time left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from safetystats.summaries.talk import STAGE_SHARES, Silence, Talk


class _Bar:
    """Shows one bar for the whole run; each stage has its usual share of the time."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress = progress
        self._console = console
        self._task = progress.add_task("starting", total=sum(STAGE_SHARES.values()))
        self._done = 0.0
        self._share = 0.0

    def stage(self, name: str) -> None:
        """A stage begins."""
        self._done += self._share
        self._share = STAGE_SHARES.get(name, 0.0)
        self._progress.update(self._task, description=name, completed=self._done)
        if not self._console.is_terminal:
            self._console.print(name, markup=False, highlight=False)

    def progress(self, done: int, total: int) -> None:
        """Work within the stage has advanced."""
        self._progress.update(self._task, completed=self._done + self._share * min(done / max(total, 1), 1.0))


class _Stoppable:
    """Passes on what it is told, and stops the run once it was interrupted."""

    def __init__(self, talk: Talk, stopped: Callable[[], bool]) -> None:
        self._talk = talk
        self._stopped = stopped

    def stage(self, name: str) -> None:
        """A stage begins."""
        if self._stopped():
            raise KeyboardInterrupt
        self._talk.stage(name)

    def progress(self, done: int, total: int) -> None:
        """Work within the stage has advanced."""
        self._talk.progress(done, total)


@contextmanager
def show_count(console: Console, what: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Yield what is told (done, total) of a piece of work: a bar on a terminal, a line elsewhere, nothing if quiet."""
    shown = not quiet and console.is_terminal
    if not quiet and not shown:
        console.print(what, markup=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not shown) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def show_progress(console: Console, *, quiet: bool, stopped: Callable[[], bool]) -> Iterator[Talk]:
    """Yield what a run reports to: a bar on a terminal, a line per stage elsewhere, nothing if quiet.

    The next stage after `stopped` turns true raises KeyboardInterrupt.
    """
    if quiet:
        yield _Stoppable(Silence(), stopped)
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield _Stoppable(_Bar(progress, console), stopped)
