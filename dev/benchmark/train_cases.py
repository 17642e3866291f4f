"""A training step: forward and backward pass and the optimizer's step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from dev.benchmark.cases import Case, check_positive, find_runtimes
from dev.benchmark.dense_cases import ConfiguredModel
from dev.benchmark.runtimes import compile_parts, place
from dev.model_zoo.classifiers import Complexity
from mmrapidnet.apis.complexity import count_parameters
from mmrapidnet.apis.latency import Call, wait_for
from mmrapidnet.apis.options import enable_amp, fuse_optimizer
from mmrapidnet.datasets.shapes import Scene, draw_scene
from mmrapidnet.datasets.shapes.layouts import ade_label_map
from mmrapidnet.utils.errors import UserError

# What the published recipes train on: COCO's images resized, ADE20K's crops.
SIZES = {'mmdet': (800, 1216), 'mmseg': (512, 512)}


@dataclass(frozen=True)
class TrainCase(Case):
    """A training step of a config on scenes that are drawn, always the same.

    With channels-last feature maps the optimizer is fused, too, as by
    ``tools/train.py --fast``.

    Attributes:
        source: The model's config and weights.
    """

    source: ConfiguredModel

    task: ClassVar[str] = 'training step'

    def _open(self) -> Call:
        cfg = self.source.read()
        if self.runtime.precision != 'fp32':
            enable_amp(cfg)
            kinds = dict(bf16='bfloat16', fp16='float16')
            cfg.optim_wrapper.dtype = kinds[self.runtime.precision]
        if self.runtime.channels_last:
            fuse_optimizer(cfg)
        model = place(self.source.build(), self.runtime, self.device).train()
        optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        compile_parts(model, self.runtime, self.device)
        images, samples = draw_batch(cfg, self.size, self.batch)

        def step() -> dict[str, Any]:
            # Preprocessing changes what it is given.
            data = dict(inputs=images, data_samples=[s.clone() for s in samples])
            with DefaultScope.overwrite_default_scope(cfg.default_scope):
                losses = model.train_step(data, optim_wrapper)
            wait_for(self.device)
            return losses

        return step

    def complexity(self) -> Complexity:
        """Count the model's parameters; a step's operations are not counted."""
        return Complexity(count_parameters(self.source.build()), None)

    def describe(self, result: Any) -> dict[str, Any]:
        """Give the loss, which must be a number for the step to be one."""
        return {'loss': result['loss'].item()}


def list_training(
    source: ConfiguredModel,
    runtimes: Sequence[str],
    size: tuple[int, int] | None,
    batch: int,
    device: str,
    threads: int,
    folder: str,
) -> list[Case]:
    """List a config's training step in every runtime.

    Args:
        source: The config and the weights.
        runtimes: Names of PyTorch's runtimes that are not fused.
        size: Height and width of the images; None for 800x1216 of a detector and
            512x512 of a segmenter.
        batch: Number of images per step.
        device: 'cpu' or 'cuda'.
        threads: Number of threads on the CPU.
        folder: Not used: nothing is exported.

    Returns:
        The cases, which are measured in turns.

    Raises:
        UserError: If a runtime cannot train, or the config has no recipe.
    """
    found = find_runtimes(runtimes, device, threads)
    check_positive('--batch', [batch])
    for runtime in found:
        if runtime.format or runtime.name.startswith('fused'):
            raise UserError(
                f'{runtime.name} is for evaluation only: train in eager, channels_last '
                'or compile'
            )
    cfg = source.read()
    if 'optim_wrapper' not in cfg:
        raise UserError(f'{source.config} has no training recipe (optim_wrapper)')
    size = size or SIZES[cfg.default_scope]
    return [
        TrainCase(
            model=source.name,
            runtime=runtime,
            size=size,
            batch=batch,
            device=device,
            threads=threads,
            folder=folder,
            source=source,
        )
        for runtime in found
    ]


def draw_batch(
    cfg: Config, size: tuple[int, int], count: int
) -> tuple[list[torch.Tensor], list[BaseDataElement]]:
    """Draw images with ground truth, as a training pipeline packs them.

    Args:
        cfg: The config of a detector with masks or of a segmenter.
        size: Height and width of the images.
        count: How many.

    Returns:
        Images (3, H, W), uint8, BGR, and a sample for each. Objects have classes of
        the config, whatever it calls them.
    """
    pack = _pack_detection if cfg.default_scope == 'mmdet' else _pack_segmentation
    scenes = [draw_scene(max(size), np.random.default_rng(i + 1)) for i in range(count)]
    images = []
    for scene in scenes:
        _crop(scene, size)
        bgr = np.ascontiguousarray(scene.image[..., ::-1].transpose(2, 0, 1))
        images.append(torch.from_numpy(bgr))
    return images, [pack(scene) for scene in scenes]


def _crop(scene: Scene, size: tuple[int, int]) -> None:
    height, width = size
    scene.image = scene.image[:height, :width]
    scene.owner = scene.owner[:height, :width]


def _pack_detection(scene: Scene) -> BaseDataElement:
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    size = scene.owner.shape
    seen = [
        index
        for index, instance in enumerate(scene.instances)
        if not instance.iscrowd and scene.mask(index).any()
    ]
    masks = BitmapMasks([scene.mask(index) for index in seen], *size)
    labels = [scene.instances[index].label for index in seen]
    sample = DetDataSample(
        metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0))
    )
    sample.gt_instances = InstanceData(
        bboxes=masks.get_bboxes('hbox').tensor,
        labels=torch.tensor(labels, dtype=torch.int64),
        masks=masks,
    )
    return sample


def _pack_segmentation(scene: Scene) -> BaseDataElement:
    from mmseg.structures import SegDataSample

    size = scene.owner.shape
    # Unlabelled pixels are 255, classes start at 0.
    labels = ade_label_map(scene).astype(np.int64) - 1
    labels[labels < 0] = 255
    sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size))
    sample.gt_sem_seg = PixelData(data=torch.from_numpy(labels)[None])
    return sample
