"""A figure measured several times, and whether a change of it is more than noise."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """A figure measured once a run.

    Attributes:
        values: One a run.
        mean: Their mean.
        stdev: Their sample standard deviation; None of a single run.
    """

    values: list[float]
    mean: float
    stdev: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Compute mean and spread.

        Example:
            >>> Spread.of([1.0, 2.0, 3.0]).stdev, Spread.of([1.0]).stdev
            (1.0, None)
        """
        stdev = statistics.stdev(values) if len(values) > 1 else None
        return cls(list(values), statistics.fmean(values), stdev)

    def show(self, digits: int) -> str:
        """Such as '61.20 ± 0.45 (n=3)'."""
        stdev = '' if self.stdev is None else f' ± {self.stdev:.{digits}f}'
        return f'{self.mean:.{digits}f}{stdev} (n={len(self.values)})'


@dataclass(frozen=True)
class Gain:
    """What a change does to a figure, measured with and without it, seed by seed.

    Attributes:
        changed: With the change.
        plain: Without it, of the same seeds in the same order.
        difference: The first less the second, seed by seed.
        pooled_stdev: The standard deviation of the two sets of runs, pooled: the root
            of the mean of their variances.
    """

    changed: Spread
    plain: Spread
    difference: Spread
    pooled_stdev: float

    @classmethod
    def of(cls, changed: Sequence[float], plain: Sequence[float]) -> Gain:
        """Compute the difference and what to hold it against.

        Args:
            changed: At least two figures.
            plain: As many, of the same seeds.

        Returns:
            The gain.

        Example:
            >>> gain = Gain.of([3.0, 5.0], [1.0, 1.0])
            >>> gain.difference.values, gain.difference.mean, gain.pooled_stdev
            ([2.0, 4.0], 3.0, 1.0)
            >>> gain.exceeds
            True
        """
        pairs = zip(changed, plain, strict=True)
        spreads = Spread.of(changed), Spread.of(plain)
        pooled = math.sqrt(statistics.fmean(spread.stdev**2 for spread in spreads))
        return cls(*spreads, Spread.of([a - b for a, b in pairs]), pooled)

    @property
    def exceeds(self) -> bool:
        """Whether the mean difference exceeds the pooled standard deviation."""
        return self.difference.mean > self.pooled_stdev
