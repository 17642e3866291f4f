"""Boxes and SAM as an instance segmenter of mmdet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

from mmrapidnet.config.type_names import type_name
from mmrapidnet.models.sam.box_sources import (
    DetectorBoxes,
    ResultFileBoxes,
    take_ground_truth,
)
from mmrapidnet.models.sam.segment_anything import (
    CHUNK,
    MASK_THRESHOLD,
    SegmentAnything,
)
from mmrapidnet.utils.errors import UserError

GROUND_TRUTH = 'gt'


@MODELS.register_module()
class PromptedInstanceSegmentor(SegmentAnything):
    """Instance segmentation by SAM, whose prompts are boxes (arXiv 2304.02643, 7.4).

    Each box gives one mask; scores and labels stay those of the boxes.  The test
    pipeline loads an image and packs it with mmdet's ``PackDetInputs``; the model
    itself resizes it as SAM does.  A detector reads the same file by the test pipeline
    of its own config.

    It is a `SegmentAnything`, so that a checkpoint of that is one of the whole.  The
    detector, with a checkpoint of its own, is no part of its state dict, and is loaded,
    as a result file is, when the first image comes.

    Args:
        segmenter: Config of a `SegmentAnything`.
        detector: Path of the config of an mmdet detector. Defaults to None.
        detector_checkpoint: Path or URL of its weights, which fill it to the last
            tensor. Defaults to None.
        boxes: Instead of a detector 'gt', for the ground truth, or the path of a COCO
            result file. Defaults to None.
        ann_file: The annotations of the data set that a result file is of. Defaults to
            None.
        classes: The names of the data set's classes, where a result file has boxes of
            others, too. Defaults to None: all categories of ``ann_file``.

    Raises:
        UserError: If there are two sources of boxes, or none, or half of one.

    Examples:
        >>> segmenter = dict(
        ...     type='SegmentAnything',
        ...     backbone=dict(type='RepViT', arch='m0_6', last_stride=1, out_indices=3),
        ...     neck=dict(type='SAMNeck', in_channels=320),
        ...     image_size=64,
        ... )
        >>> model = PromptedInstanceSegmentor(segmenter, boxes='gt').eval()
        >>> sample = BaseDataElement(metainfo=dict(ori_shape=(40, 60)))
        >>> sample.gt_instances = InstanceData(
        ...     bboxes=torch.tensor([[5.0, 5.0, 30.0, 20.0]]), labels=torch.tensor([2])
        ... )
        >>> image = torch.zeros(3, 40, 60, dtype=torch.uint8)
        >>> (found,) = model.test_step(dict(inputs=[image], data_samples=[sample]))
        >>> found.pred_instances.masks.shape
        torch.Size([1, 40, 60])
    """

    def __init__(
        self,
        segmenter: dict[str, Any],
        detector: str | None = None,
        detector_checkpoint: str | None = None,
        boxes: str | None = None,
        ann_file: str | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        if type_name(segmenter) != 'SegmentAnything':
            raise UserError(
                f'segmenter of PromptedInstanceSegmentor is a {type_name(segmenter)}: '
                'give the config of a SegmentAnything'
            )
        super().__init__(**{k: v for k, v in segmenter.items() if k != 'type'})
        self.detector, self.detector_checkpoint = detector, detector_checkpoint
        self.boxes, self.ann_file, self.classes = boxes, ann_file, classes
        self._check_source()

    def _check_source(self) -> None:
        if (self.boxes is None) == (self.detector is None):
            raise UserError(
                'PromptedInstanceSegmentor needs boxes of one source: give either '
                "detector and detector_checkpoint, or boxes ('gt', or a COCO result "
                f'file); detector is {self.detector!r} and boxes {self.boxes!r}'
            )
        if self.detector is not None and self.detector_checkpoint is None:
            raise UserError(
                f'the detector {self.detector} has no weights: give their file as '
                'detector_checkpoint'
            )
        if self.boxes not in (None, GROUND_TRUTH) and self.ann_file is None:
            raise UserError(
                f'the result file {self.boxes} needs the annotations of its data set: '
                'give their file as ann_file'
            )

    @cached_property
    def _find_boxes(self) -> Callable[[BaseDataElement], InstanceData]:
        if self.boxes == GROUND_TRUTH:
            return take_ground_truth
        if self.boxes is not None:
            return ResultFileBoxes(self.boxes, self.ann_file, self.classes)
        return DetectorBoxes(self.detector, self.detector_checkpoint, self._device)

    @property
    def _device(self) -> torch.device:
        return next(self.parameters()).device

    def forward(
        self,
        inputs: Sequence[Tensor],
        data_samples: list[BaseDataElement] | None = None,
        mode: str = 'tensor',
    ) -> Tensor | list[BaseDataElement]:
        """Segment the objects of images, or compute embeddings.

        Args:
            inputs: Images, (3, H, W) each, uint8, BGR; with ``mode='tensor'`` as
                `SegmentAnything` takes them.
            data_samples: What is known of each image: ``ori_shape``, and what its boxes
                are found by (``img_path`` for a detector, ``img_id`` for a result file,
                ``gt_instances``).
            mode: 'predict' or 'tensor'. Defaults to 'tensor'.

        Returns:
            The samples, each with ``pred_instances``: ``bboxes`` (N, 4), ``scores``,
            ``labels``, and ``masks`` (N, height, width) in the image's original size,
            boolean. A box without a size within the image has an empty mask.

        Raises:
            UserError: If boxes cannot be found, or as `SegmentAnything`.
        """
        if mode != 'predict':
            return super().forward(inputs, data_samples, mode)
        for image, sample in zip(inputs, data_samples, strict=True):
            found = self._find_boxes(sample).to(self._device)
            found.masks = self._draw(image, found.bboxes, sample.ori_shape[:2])
            sample.pred_instances = found
        return data_samples

    @torch.no_grad()
    def test_step(self, data: dict[str, Any]) -> list[BaseDataElement]:
        """Segment the objects of a batch as a data loader gives it.

        Args:
            data: ``inputs`` and ``data_samples``, see `forward`.

        Returns:
            As `forward` with ``mode='predict'``.
        """
        return self(data['inputs'], data['data_samples'], mode='predict')

    val_step = test_step

    def _draw(self, image: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
        """The masks of boxes (N, 4) in an image that has a height and width."""
        height, width = size
        limits = boxes.new_tensor([width, height, width, height])
        boxes = boxes.clamp(min=0).minimum(limits)
        has_size = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        masks = boxes.new_zeros((len(boxes), height, width), dtype=torch.bool)
        if not has_size.any():
            return masks
        pixels = image.permute(1, 2, 0).flip(2).cpu().numpy()  # RGB
        decode, shape = self.encode_image(pixels)
        scaled = boxes[has_size] * boxes.new_tensor([*shape[::-1]] * 2) / limits
        logits, _ = decode(boxes=scaled, multimask_output=False)
        parts = (
            self.upscale_masks(part, shape, size) > MASK_THRESHOLD
            for part in logits.split(CHUNK)
        )
        masks[has_size] = torch.cat([part[:, 0] for part in parts])
        return masks
