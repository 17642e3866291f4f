"""Detectors in two stages: Faster, Mask, Cascade R-CNN and Panoptic FPN.

As far as masks of 28x28 in boxes, and logits of stuff at the stride of the head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmrapidnet.deploy.detectors.roi_features import RoIFeatures
from mmrapidnet.deploy.detectors.rpn import Proposals
from mmrapidnet.deploy.detectors.shared import (
    DetectorGraph,
    Suppression,
    check_parts,
    decode_deltas,
)

# What each part of the detector has to be: what it predicts is written out below.
_PARTS = {
    'rpn_head': ('RPNHead',),
    'rpn_head.prior_generator': ('AnchorGenerator',),
    'rpn_head.bbox_coder': ('DeltaXYWHBBoxCoder',),
    'roi_head': ('StandardRoIHead', 'CascadeRoIHead'),
}
# The same of the RoI head, for each of its stages.
_STAGE_PARTS = {
    'bbox_roi_extractor': ('SingleRoIExtractor',),
    'bbox_roi_extractor.roi_layers.0': ('RoIAlign',),
    'bbox_head': (
        'BBoxHead',
        'ConvFCBBoxHead',
        'Shared2FCBBoxHead',
        'Shared4Conv1FCBBoxHead',
    ),
    'bbox_head.bbox_coder': ('DeltaXYWHBBoxCoder',),
    'mask_roi_extractor': ('SingleRoIExtractor',),
    'mask_roi_extractor.roi_layers.0': ('RoIAlign',),
    'mask_head': ('FCNMaskHead',),
}
# Options of them that would change the prediction, with the values they may have.
_OPTIONS = {
    'rpn_head.bbox_coder.clip_border': (True,),
    'rpn_head.bbox_coder.add_ctr_clamp': (False,),
    'roi_head.with_shared_head': (False,),
}
_STAGE_OPTIONS = {
    'bbox_roi_extractor.roi_layers.0.pool_mode': ('avg',),
    'bbox_head.with_cls': (True,),
    'bbox_head.with_reg': (True,),
    'bbox_head.custom_cls_channels': (False,),
    'bbox_head.bbox_coder.clip_border': (True,),
    'bbox_head.bbox_coder.add_ctr_clamp': (False,),
    'mask_roi_extractor.roi_layers.0.pool_mode': ('avg',),
    'mask_head.upsample_method': ('deconv', 'nearest', 'bilinear', None),
}
# Of a panoptic model besides, which lays objects over stuff.
_PANOPTIC_PARTS = {
    'semantic_head': ('PanopticFPNHead',),
    'panoptic_fusion_head': ('HeuristicFusionHead',),
}
_PANOPTIC_OPTIONS = {'roi_head.with_mask': (True,)}


class TwoStageGraph(DetectorGraph):
    """The prediction of a detector in two stages.

    Its outputs are 'masks' and 'semantic', too, if the model has such heads; its
    settings what of the ``test_cfg`` applies to masks and to their fusion with stuff.

    Args:
        model: mmdet's ``FasterRCNN``, ``MaskRCNN``, ``CascadeRCNN`` or ``PanopticFPN``.

    Raises:
        UserError: As `DetectorGraph`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        _check(model)
        self.proposals = Proposals(model.rpn_head)
        self.boxes = _Boxes(model.roi_head, self.proposals.suppress.limit)
        self.masks = _Masks(model.roi_head) if model.with_mask else None
        self.semantic = getattr(model, 'semantic_head', None)
        if self.masks is not None:
            self.outputs = (*self.outputs, 'masks')
            self.settings['mask_threshold'] = model.roi_head.test_cfg.mask_thr_binary
        if self.semantic is not None:
            self.outputs = (*self.outputs, 'semantic')
            self.settings.update(_read_fusion(model))

    def predict(
        self, maps: tuple[Tensor, ...], height: int, width: int
    ) -> tuple[Tensor, ...]:
        """Boxes, scores, labels and, if there are such heads, masks and stuff."""
        proposals = self.proposals(maps, height, width)
        boxes, scores, labels = self.boxes(maps, proposals, height, width)
        found = [boxes, scores, labels]
        if self.masks is not None:
            found.append(self.masks(maps, boxes, labels))
        if self.semantic is not None:
            found.append(self.semantic(maps)['seg_preds'])
        return tuple(found)


class _Boxes(nn.Module):
    """The box head, or a cascade of them: from proposals to boxes, scores and labels.

    A cascade refines the proposals with the deltas of each stage but the last, and
    takes the mean of the logits of all.
    """

    def __init__(self, head: nn.Module, proposals: int) -> None:
        super().__init__()
        cfg = head.test_cfg
        stages = zip(_stages(head.bbox_roi_extractor), _stages(head.bbox_head))
        *refining, self.last = (_BoxStage(*stage) for stage in stages)
        self.refining = nn.ModuleList(refining)
        self.score_thr = cfg.score_thr
        classes = self.last.head.num_classes
        if self.score_thr > 0:  # scores of a proposal sum to 1, but for rounding
            classes = min(classes, int((1 + 1e-5) / self.score_thr))
        self.suppress = Suppression.from_config(
            cfg, 'test_cfg.rcnn', candidates=proposals * classes
        )

    def forward(
        self, features: tuple[Tensor, ...], proposals: Tensor, height: int, width: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        earlier = []
        for stage in self.refining:
            logits, deltas = stage(features, proposals)
            label = logits[:, :-1].argmax(dim=1)
            row = torch.arange(label.shape[0], device=label.device)
            proposals = stage.decode(proposals, deltas, row, label, height, width)
            earlier.append(logits)
        logits, deltas = self.last(features, proposals)
        if earlier:
            logits = sum([*earlier, logits]) / (len(earlier) + 1)
        scores = logits.softmax(dim=1)[:, :-1]
        proposal, label = (scores > self.score_thr).nonzero().unbind(dim=1)
        score = scores[proposal, label]
        boxes = self.last.decode(proposals, deltas, proposal, label, height, width)
        kept = self.suppress(boxes, score, label)
        return boxes[kept], score[kept], label[kept]


class _BoxStage(nn.Module):
    """A box head: from proposals, (N, 4), to their logits and deltas."""

    def __init__(self, extractor: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.align = RoIFeatures(extractor)
        self.head = head

    def forward(
        self, features: tuple[Tensor, ...], proposals: Tensor
    ) -> tuple[Tensor, Tensor]:
        aligned, place = self.align(features, proposals)
        logits, deltas = (output[place] for output in self.head(aligned))
        return logits, deltas

    def decode(
        self,
        proposals: Tensor,
        deltas: Tensor,
        row: Tensor,
        label: Tensor,
        height: int,
        width: int,
    ) -> Tensor:
        """Boxes, (K, 4), of K rows of the proposals for a class each."""
        if self.head.reg_class_agnostic:
            delta = deltas[row]
        else:
            delta = deltas.unflatten(1, (-1, 4))[row, label]
        return decode_deltas(self.head.bbox_coder, proposals[row], delta, height, width)


class _Masks(nn.Module):
    """The mask heads: the predicted class's probabilities in each box, their mean."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        stages = zip(_stages(head.mask_roi_extractor), _stages(head.mask_head))
        self.stages = nn.ModuleList(_MaskStage(*stage) for stage in stages)

    def forward(
        self, features: tuple[Tensor, ...], boxes: Tensor, labels: Tensor
    ) -> Tensor:
        masks = [stage(features, boxes, labels) for stage in self.stages]
        return masks[0] if len(masks) == 1 else torch.stack(masks).mean(dim=0)


class _MaskStage(nn.Module):
    """A mask head: the predicted class's probabilities in each box."""

    def __init__(self, extractor: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.align = RoIFeatures(extractor)
        self.head = head

    def forward(
        self, features: tuple[Tensor, ...], boxes: Tensor, labels: Tensor
    ) -> Tensor:
        aligned, place = self.align(features, boxes)
        logits = self.head(aligned)
        channel = torch.zeros_like(labels) if self.head.class_agnostic else labels
        return logits[place, channel].sigmoid()


def _read_fusion(model: nn.Module) -> dict[str, float]:
    """What `mmrapidnet.deploy.postprocess.fuse_panoptic` needs beside the outputs."""
    head = model.panoptic_fusion_head
    return {
        'divisor': model.data_preprocessor.pad_size_divisor,
        'things': head.num_things_classes,
        'mask_overlap': head.test_cfg.mask_overlap,
        'stuff_area_limit': head.test_cfg.stuff_area_limit,
    }


def _stages(part: nn.Module) -> list[nn.Module]:
    """The stages of a part of the RoI head; a cascade has more than one."""
    return list(part) if isinstance(part, nn.ModuleList) else [part]


def _check(model: nn.Module) -> None:
    """Refuse a model with a part or an option that is not written out here."""
    check_parts(model, _PARTS, {})
    if hasattr(model, 'semantic_head'):
        check_parts(model, _PANOPTIC_PARTS, _PANOPTIC_OPTIONS)
    parts = dict(_name_stages(model.roi_head, _STAGE_PARTS))
    options = dict(_name_stages(model.roi_head, _STAGE_OPTIONS))
    check_parts(model, parts, {**_OPTIONS, **options})


def _name_stages(
    head: nn.Module, expected: Mapping[str, tuple[Any, ...]]
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Name what is expected of the RoI head for each stage that it has."""
    for path, values in expected.items():
        part, dot, rest = path.partition('.')
        if part.startswith('mask_') and not head.with_mask:
            continue
        found = getattr(head, part, None)
        numbers = range(len(found)) if isinstance(found, nn.ModuleList) else [None]
        for number in numbers:
            stage = part if number is None else f'{part}.{number}'
            yield f'roi_head.{stage}{dot}{rest}', values
