"""A data set as a config uses it: what is read, how, and what for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, TRANSFORMS, DefaultScope

_GEOMETRY = ('Resize', 'RandomResize')


@dataclass(frozen=True)
class Source:
    """A data set of a config.

    Args:
        config: The config of the data set.
        scope: The library it is of: 'mmdet', 'mmseg' or 'mmpretrain'.
        evaluated: Whether metrics are computed on it.
        annotated: Whether its annotations are read, which they are not where
            predictions are only written.  Defaults to True.
    """

    config: dict[str, Any]
    scope: str
    evaluated: bool
    annotated: bool = True

    @cached_property
    def dataset(self) -> BaseDataset:
        """The library's own data set, which knows its paths but has read nothing."""
        with DefaultScope.overwrite_default_scope(self.scope):
            return DATASETS.build({**self.config, 'pipeline': [], 'lazy_init': True})

    @cached_property
    def loader(self) -> Any:
        """What reads an image, as the pipeline does."""
        found = self._step('LoadImageFromFile') or dict(type='LoadImageFromFile')
        with DefaultScope.overwrite_default_scope(self.scope):
            return TRANSFORMS.build(found)

    @cached_property
    def annotations(self) -> Any:
        """What reads the annotations, as the pipeline does; None if nothing does."""
        found = self._step('LoadAnnotations')
        with DefaultScope.overwrite_default_scope(self.scope):
            return TRANSFORMS.build(found) if found else None

    @property
    def masks(self) -> bool:
        """Whether the masks of objects are read."""
        return bool(getattr(self.annotations, 'with_mask', False))

    @property
    def min_size(self) -> int:
        """Images of a shorter side are left out, in pixels."""
        if self.dataset.test_mode or not self.dataset.filter_cfg:
            return 0
        return self.dataset.filter_cfg.get('min_size', 0)

    @cached_property
    def smallest_scale(self) -> float | tuple[float, float] | None:
        """The smallest ``scale`` that images are resized to; None if they are not."""
        for step in self._steps():
            if step['type'] in _GEOMETRY and step.get('keep_ratio') and 'scale' in step:
                ratio = min(step.get('ratio_range', (1,)))
                return tuple(side * ratio for side in step['scale'])
        return None

    def _steps(self) -> Iterator[dict[str, Any]]:
        for step in self.config.get('pipeline') or ():
            if isinstance(step, dict):
                yield step

    def _step(self, kind: str) -> dict[str, Any] | None:
        """The first step of a kind, under whichever library's prefix."""
        named = (step for step in self._steps() if str(step['type']).endswith(kind))
        return next(named, None)
