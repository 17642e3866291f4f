"""Memory over time, and whether it grows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median

MIB = 2**20
# Of the time; the first validation and checkpoint are to be over.
WARM_UP = 0.4
# Of the level after warm-up.
BOUND = 0.02


@dataclass(frozen=True)
class Curve:
    """What a command held, sample by sample.

    Attributes:
        times: Seconds since its start.
        main: Bytes of the process itself.
        workers: Bytes of its children together.
    """

    times: list[float]
    main: list[int]
    workers: list[int]

    @property
    def total(self) -> list[int]:
        """Bytes of all processes."""
        return [main + workers for main, workers in zip(self.main, self.workers)]

    def settled(self) -> list[int]:
        """The samples of the total after two fifths of the time."""
        end = WARM_UP * self.times[-1]
        return [held for t, held in zip(self.times, self.total) if t >= end]

    @property
    def level(self) -> float:
        """Median bytes after warm-up."""
        return median(self.settled())

    @property
    def growth(self) -> float:
        """How much more the last quarter after warm-up holds than the first, in bytes.

        Example:
            >>> Curve([0, 1, 2, 3, 4], [9, 1, 1, 2, 3], [0] * 5).growth
            2
        """
        settled = self.settled()
        quarter = max(1, len(settled) // 4)
        return median(settled[-quarter:]) - median(settled[:quarter])

    @property
    def flat(self) -> bool:
        """Whether it grows by no more than 2 % of the level."""
        return self.growth <= BOUND * self.level

    def describe(self) -> str:
        """Say level and growth in a sentence."""
        return (
            f'{self.level / MIB:.0f} MiB after warm-up, {self.growth / MIB:+.1f} MiB '
            f'({self.growth / self.level:+.1%}) from the first to the last quarter of '
            f'{self.times[-1] / 60:.1f} minutes'
        )


def draw(curves: dict[str, Curve], out: Path) -> None:
    """Draw the totals over time.

    Args:
        curves: What to call them, and the curves; a panel each.
        out: The picture to write.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(curves), 3.2), layout='constrained')
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, (name, curve) in zip(panels, curves.items()):
        minutes = [t / 60 for t in curve.times]
        axes.plot(minutes, [held / MIB for held in curve.total], label='all processes')
        axes.plot(minutes, [held / MIB for held in curve.main], label='main process')
        axes.axvspan(0, WARM_UP * minutes[-1], alpha=0.1, label='warm-up')
        axes.set(title=name, xlabel='minutes', ylabel='MiB', ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend(loc='lower right')
    figure.savefig(out, dpi=100)
