"""SOLOv2 on plain tensors: masks without boxes, suppressed by matrix NMS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmrapidnet.deploy.detectors.one_stage import flatten
from mmrapidnet.deploy.detectors.shared import DetectorGraph, check_parts
from mmrapidnet.deploy.ops import top

_PARTS = {'mask_head': ('SOLOV2Head',)}
_OPTIONS = {
    'mask_head.with_dcn': (False,),
    'mask_head.dynamic_conv_size': (1,),
    'mask_head.test_cfg.kernel': ('gaussian', 'linear'),
}


class SOLOv2Graph(DetectorGraph):
    """The prediction of SOLOv2 (Wang et al., 2020, arXiv:2003.10152).

    Its settings say how logits become masks: ``mask_threshold`` and, with ``head`` and
    ``strides``, ``mask_resizing``, see `mmrapidnet.deploy.image_masks.resize_masks`.

    Args:
        model: mmdet's ``SOLOv2``.

    Raises:
        UserError: As `DetectorGraph`; also if it has deformable convolutions.
    """

    outputs = ('scores', 'labels', 'mask_logits')

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        check_parts(model, _PARTS, _OPTIONS)
        self.head = head = model.mask_head
        self.suppress = _MatrixSuppression(head)
        cells = [count**2 for count in head.num_grids]
        strides = torch.tensor(head.strides).repeat_interleave(torch.tensor(cells))
        self.register_buffer('strides', strides, persistent=False)
        self.settings = {
            'mask_threshold': head.test_cfg.mask_thr,
            'mask_resizing': dict(head='SOLOV2Head', strides=[head.mask_stride]),
        }

    def predict(
        self, maps: tuple[Tensor, ...], height: int, width: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, labels and logits of masks."""
        with _coordinates_of_any_size():
            kernels, logits, features = self.head(maps)
        kernels = torch.cat(
            [flatten(k, self.head.kernel_out_channels) for k in kernels]
        )
        scores = torch.cat([self._score(level) for level in logits])
        cell, label = (scores > self.head.test_cfg.score_thr).nonzero().unbind(dim=1)
        masks = kernels[cell] @ features[0].flatten(1)
        score, label, masks = self.suppress(
            scores[cell, label], label, masks, self.strides[cell]
        )
        return score, label, masks.reshape(masks.shape[0], *features.shape[2:])

    def _score(self, logits: Tensor) -> Tensor:
        """Scores, (cells, classes), of a level, 0 beside a higher one."""
        scores = logits.sigmoid()
        highest = F.max_pool2d(scores, 2, stride=1, padding=1)[:, :, :-1, :-1]
        return flatten(scores * (highest == scores), self.head.cls_out_channels)


class _MatrixSuppression(nn.Module):
    """Matrix NMS: the more a mask overlaps with better ones, the less its score."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.cfg = cfg = head.test_cfg
        most = sum(count**2 for count in head.num_grids) * head.cls_out_channels
        self.nms_pre = cfg.nms_pre if cfg.nms_pre > 0 else most
        self.limit = cfg.max_per_img if cfg.max_per_img > 0 else most

    def forward(
        self, score: Tensor, label: Tensor, logits: Tensor, least: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, labels and logits, (K, h * w), of the masks that are left.

        A mask has more pixels than ``least``; its score is multiplied with the mean
        probability of its pixels.
        """
        area = self._mask(logits).sum(dim=1)
        large = (area > least).nonzero()[:, 0]
        score, label, logits, area = (v[large] for v in (score, label, logits, area))
        mask = self._mask(logits)
        score = score * ((logits.sigmoid() * mask).sum(dim=1) / area)
        best = top(score, self.nms_pre)
        score, label, logits, area = (v[best] for v in (score, label, logits, area))
        score = score * self._decay(mask[best], area, label)
        if self.cfg.filter_thr > 0:
            kept = (score >= self.cfg.filter_thr).nonzero()[:, 0]
            score, label, logits = (v[kept] for v in (score, label, logits))
        best = top(score, self.limit)
        return score[best], label[best], logits[best]

    def _mask(self, logits: Tensor) -> Tensor:
        return (logits.sigmoid() > self.cfg.mask_thr).to(logits)

    def _decay(self, masks: Tensor, areas: Tensor, labels: Tensor) -> Tensor:
        """Factors, (n,), for scores that descend."""
        shared = masks @ masks.T
        place = torch.arange(labels.shape[0], device=labels.device)
        better = (place[:, None] < place) & (labels[:, None] == labels)
        overlap = shared / (areas + areas[:, None] - shared) * better
        # A row of a mask that overlaps with none, for when there is no mask.
        overlap = torch.cat([overlap, torch.zeros_like(areas)[None]])
        most = torch.cat([overlap.amax(dim=0), areas.new_zeros(1)])[:, None]
        if self.cfg.kernel == 'linear':
            return ((1 - overlap) / (1 - most)).amin(dim=0)
        overlap, most = (torch.exp(-self.cfg.sigma * v**2) for v in (overlap, most))
        return (overlap / most).amin(dim=0)


@contextmanager
def _coordinates_of_any_size() -> Iterator[None]:
    """Let mmdet's head make its coordinates by what can be traced.

    ``torch.linspace`` makes a number of the length, which a traced graph is bound to.
    """
    from mmdet.models.dense_heads import solov2_head

    theirs = solov2_head.generate_coordinate
    solov2_head.generate_coordinate = _make_coordinates
    try:
        yield
    finally:
        solov2_head.generate_coordinate = theirs


def _make_coordinates(size: tuple[int, ...], device: torch.device) -> Tensor:
    """Across and down from -1 to 1, (N, 2, H, W)."""
    batch, _, height, width = size
    across, down = (_spread(length, device) for length in (width, height))
    across = across.expand(batch, 1, height, width)
    return torch.cat([across, down[:, None].expand(batch, 1, height, width)], dim=1)


def _spread(length: int, device: torch.device) -> Tensor:
    """Numbers from -1 to 1, (length,), as ``torch.linspace`` computes them."""
    place = torch.arange(length, device=device)
    last = torch.full_like(place, length - 1)
    step = 2 / last.clamp(min=1).float()
    return torch.where(place <= last // 2, step * place - 1, 1 - step * (last - place))
