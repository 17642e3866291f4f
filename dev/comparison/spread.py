"""A figure measured several times, and whether a change of it is more than noise."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import ttest_rel

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Spread:
    """A figure measured once per run.

    Attributes:
        values: One per run.
        mean: Their mean.
        stdev: Their sample standard deviation; None of a single run.
    """

    values: list[float]
    mean: float
    stdev: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Compute mean and spread.

        Examples:
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
        t: The statistic of a paired t-test; None of a single seed, or if all
            differences are equal.
        p: Its two-sided p-value; None where there is no t.
    """

    changed: Spread
    plain: Spread
    difference: Spread
    t: float | None
    p: float | None

    @classmethod
    def of(cls, changed: Sequence[float], plain: Sequence[float]) -> Gain:
        """Compute the difference and test whether it is more than noise.

        Args:
            changed: Figures, one per seed.
            plain: As many, of the same seeds.

        Returns:
            The gain.

        Examples:
            >>> gain = Gain.of([3.0, 5.0, 4.0], [1.0, 1.0, 1.0])
            >>> gain.difference.values, gain.difference.mean
            ([2.0, 4.0, 3.0], 3.0)
            >>> f'{gain.t:.2f}', f'{gain.p:.3f}', gain.significant
            ('5.20', '0.035', True)
        """
        pairs = zip(changed, plain, strict=True)
        difference = Spread.of([a - b for a, b in pairs])
        t = p = None
        if difference.stdev:
            t, p = map(float, ttest_rel(changed, plain))
        return cls(Spread.of(changed), Spread.of(plain), difference, t, p)

    @property
    def significant(self) -> bool:
        """Whether the mean difference, a gain or a loss, has a p below 0.05."""
        return self.p is not None and self.p < SIGNIFICANT
