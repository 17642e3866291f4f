"""A data set as a config uses it: what is read, how, and what for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, TRANSFORMS, DefaultScope

from mmrapidnet.config.evaluators import list_metrics
from mmrapidnet.config.load import iter_datasets
from mmrapidnet.config.type_names import type_name
from mmrapidnet.datasets.check.heads import Head, heads_of


class Sample(NamedTuple):
    """An image and what the annotations say of it.

    Attributes:
        image: Path of the image.
        record: Which record names it, such as 'a/val.json: image 7'; empty if none.
        size: Height and width in pixels, as the annotations have them.
        label_map: Path of the label map, in segmentation.
        label: Number of its class, in classification.
    """

    image: str
    record: str = ''
    size: tuple[int, int] | None = None
    label_map: str | None = None
    label: int | None = None


# Metrics that keep predictions and look at no annotation.
_ONLY_KEEP = ('DumpResults', 'DumpDetResults', 'DumpProposals')
_GEOMETRY = ('Resize', 'RandomResize', 'RandomChoiceResize', 'ResizeShortestEdge')


@dataclass(frozen=True)
class Source:
    """A data set of a config.

    Args:
        config: The config of the data set.
        scope: The library it is of: 'mmdet', 'mmseg' or 'mmpretrain'.
        evaluated: Whether metrics are computed on it.
        annotated: Whether its annotations are read, which they are not where
            predictions are only written.  Defaults to True.
        model: The config of what learns from it or is evaluated on it: the keys
            'model' and, if it is beside it, 'data_preprocessor'.  Defaults to None.
    """

    config: dict[str, Any]
    scope: str
    evaluated: bool
    annotated: bool = True
    model: dict[str, Any] | None = None

    @cached_property
    def heads(self) -> list[Head]:
        """What of the model is told the number of classes."""
        return list(heads_of(self.model, self.scope))

    @cached_property
    def dataset(self) -> BaseDataset:
        """The library's own data set, which knows its paths but has read nothing."""
        with DefaultScope.overwrite_default_scope(self.scope):
            return DATASETS.build({**self.config, 'pipeline': [], 'lazy_init': True})

    @property
    def classes(self) -> Sequence[str] | None:
        """Names of the classes, if labels stand for any and not for texts."""
        if self.config.get('return_classes'):
            return None
        return self.dataset.metainfo.get('classes')

    @cached_property
    def loader(self) -> Any:
        """What reads an image, as the pipeline does."""
        return self._build('LoadImageFromFile', dict(type='LoadImageFromFile'))

    @cached_property
    def annotations(self) -> Any:
        """What reads the annotations, as the pipeline does; None if nothing does."""
        return self._build('LoadAnnotations')

    @property
    def reads_images(self) -> bool:
        """Whether images are read as `loader` does, not by a step of one's own."""
        return not self.config.get('pipeline') or self._has('LoadImageFromFile')

    @property
    def reads_label_maps(self) -> bool:
        """Whether label maps are read as they are, not by a step of one's own."""
        return self._has('LoadAnnotations')

    @property
    def needs_label_maps(self) -> bool:
        """Whether anything is done with label maps, if there are any."""
        return self.annotated or self.reads_label_maps

    @property
    def masks(self) -> bool:
        """Whether the masks of objects are read."""
        return bool(getattr(self.annotations, 'with_mask', False))

    @property
    def name(self) -> str:
        """Its annotation file, or else the folder of its images."""
        dataset = self.dataset
        folder = next(iter(dataset.data_prefix.values()), None)
        return str(dataset.ann_file or folder or dataset.data_root)

    @property
    def min_size(self) -> int:
        """Images of a shorter side are left out, in pixels."""
        if self.dataset.test_mode or not self.dataset.filter_cfg:
            return 0
        return self.dataset.filter_cfg.get('min_size', 0)

    @cached_property
    def smallest_scale(self) -> tuple[float, float] | None:
        """The smallest scale that images are resized to with their ratio kept.

        It is the longest and the shortest side allowed, in pixels, in any order; of
        several steps, that of the first, and None if there is none.
        """
        for step in self.steps:
            if type_name(step) in _GEOMETRY and (scales := _scales_kept(step)):
                ratio = min(step.get('ratio_range') or (1,))
                longest, shortest = map(max, scales), map(min, scales)
                return min(longest) * ratio, min(shortest) * ratio
        return None

    @property
    def steps(self) -> Iterator[dict[str, Any]]:
        """All steps of the pipeline, also those that others choose among."""
        return _steps_of(self.config.get('pipeline'))

    def _has(self, kind: str) -> bool:
        return any(type_name(step) == kind for step in self.steps)

    def _build(self, kind: str, default: dict[str, Any] | None = None) -> Any:
        """The first step of a kind, under whichever library's prefix."""
        named = (step for step in self.steps if type_name(step).endswith(kind))
        step = next(named, default)
        with DefaultScope.overwrite_default_scope(self.scope):
            return TRANSFORMS.build(step) if step else None


def sources_of(cfg: Config, dataloaders: list[str]) -> Iterator[Source]:
    """List the data sets of some dataloaders, each once.

    Args:
        cfg: The config of a run.
        dataloaders: Names of dataloaders; those that the config lacks are passed over.

    Yields:
        The data sets.
    """
    model = {key: cfg.get(key) for key in ('model', 'data_preprocessor')}
    seen = []
    for name in dataloaders:
        for dataset in iter_datasets(cfg.get(name)):
            metrics = list_metrics(cfg.get(name.replace('_dataloader', '_evaluator')))
            # Evaluators may only write what was predicted.
            predicted = bool(metrics) and all(map(_only_writes, metrics))
            evaluated = name != 'train_dataloader' and not predicted
            use = dataset, evaluated, not predicted
            if use not in seen:
                seen.append(use)
                yield Source(dataset, cfg.default_scope, *use[1:], model=model)


def _only_writes(metric: dict[str, Any]) -> bool:
    return bool(metric.get('format_only')) or type_name(metric) in _ONLY_KEEP


def _steps_of(node: Any) -> Iterator[dict[str, Any]]:
    """All steps of a pipeline, also those that others choose among."""
    if isinstance(node, dict):
        if 'type' in node:
            yield node
        node = node.values()
    elif not isinstance(node, (list, tuple)):
        return
    for item in node:
        yield from _steps_of(item)


def _scales_kept(step: dict[str, Any]) -> list[tuple[float, float]]:
    """The scales a step resizes to with the ratio kept: two sides each."""
    by_short_edge = 'ResizeShortestEdge' in (type_name(step), step.get('resize_type'))
    if not (by_short_edge or step.get('keep_ratio')):
        return []
    scales = step.get('scales') or [step.get('scale')]
    if isinstance(scales[0], (list, tuple)) and isinstance(scales[0][0], (list, tuple)):
        (scales,) = scales
    if scales == [None]:
        return []
    pairs = []
    for scale in scales:
        if not isinstance(scale, (list, tuple)):
            longest = step.get('max_size') or float('inf')
            scale = (longest if by_short_edge else scale, scale)
        pairs.append(tuple(scale))
    return pairs
