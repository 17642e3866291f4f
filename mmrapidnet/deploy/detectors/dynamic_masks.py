"""Masks of convolutions that each detection predicts: RTMDet-Ins and CondInst.

As far as logits of the whole image at the stride of the features; to enlarge and to
cut them is `mmrapidnet.deploy.image_masks.resize_masks`.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from mmrapidnet.deploy.detectors.one_stage import DenseDetection, Detections, flatten
from mmrapidnet.deploy.detectors.shared import DetectorGraph, check_parts

Maps = tuple[Tensor, ...]

RTMDET_INS_HEADS = ('RTMDetInsHead', 'RTMDetInsSepBNHead')
_CONDINST_PARTS = {
    'bbox_head': ('CondInstBboxHead', 'BoxInstBboxHead'),
    'mask_head': ('CondInstMaskHead', 'BoxInstMaskHead'),
}
# What RTMDet-Ins divides relative coordinates by, beside the stride.
_SIZE_OF_INTEREST = 8


class DynamicMasksGraph(DetectorGraph):
    """Instance segmentation by dynamic convolutions.

    Its settings say how logits become masks: ``mask_threshold`` and, with ``head`` and
    ``strides``, ``mask_resizing``, see `mmrapidnet.deploy.image_masks.resize_masks`.

    Args:
        model: A detector of mmdet.
        masks: The part of it that convolves.
        size_of_interest: What coordinates are divided by, beside the stride.

    Raises:
        UserError: As `DetectorGraph`.
    """

    outputs = ('boxes', 'scores', 'labels', 'mask_logits')

    def __init__(
        self, model: nn.Module, masks: nn.Module, size_of_interest: int
    ) -> None:
        super().__init__(model)
        self.head = model.bbox_head
        self.detect = DenseDetection(model)
        self.masks = _DynamicConvolutions(masks, size_of_interest)

    def predict(self, maps: Maps, height: int, width: int) -> Maps:
        """Boxes, scores, labels and logits of masks."""
        dense, kernels, features = self.predict_maps(maps)
        found = self.detect(dense, height, width)
        logits = self.masks(features, kernels, found)
        return found.boxes, found.scores, found.labels, logits

    @abstractmethod
    def predict_maps(self, maps: Maps) -> tuple[list[Maps], Maps, Tensor]:
        """Run the convolutions of the heads.

        Args:
            maps: Those of the neck, (1, C, H_i, W_i).

        Returns:
            What `DenseDetection` takes; the weights of the dynamic convolutions, of
            each level; the features that these are of.
        """


class RTMDetInsGraph(DynamicMasksGraph):
    """RTMDet-Ins (Lyu et al., 2022, arXiv:2212.07784).

    Args:
        model: mmdet's ``RTMDet`` with a head for instances, in evaluation mode.

    Raises:
        UserError: As `DetectorGraph`.
    """

    def __init__(self, model: nn.Module) -> None:
        check_parts(model, {'bbox_head': RTMDET_INS_HEADS}, {})
        head = model.bbox_head
        super().__init__(model, head, _SIZE_OF_INTEREST)
        self.settings = {
            'mask_threshold': head.test_cfg.mask_thr_binary,
            'mask_resizing': dict(
                head='RTMDetInsHead', strides=[head.prior_generator.strides[0][0]]
            ),
        }

    def predict_maps(self, maps: Maps) -> tuple[list[Maps], Maps, Tensor]:
        """Run the head, which gives the features, too."""
        *dense, kernels, features = self.head(maps)
        return dense, kernels, features


class CondInstGraph(DynamicMasksGraph):
    """CondInst (Tian et al., 2020, arXiv:2003.05664); BoxInst predicts as it does.

    Args:
        model: mmdet's ``CondInst`` or ``BoxInst`` in evaluation mode.

    Raises:
        UserError: As `DetectorGraph`.
    """

    def __init__(self, model: nn.Module) -> None:
        check_parts(model, _CONDINST_PARTS, {})
        head = model.mask_head
        super().__init__(model, head, head.size_of_interest)
        self.features = head.mask_feature_head
        self.settings = {
            'mask_threshold': head.test_cfg.mask_thr,
            'mask_resizing': dict(
                head='CondInstMaskHead',
                strides=[head.mask_feat_stride, head.mask_out_stride],
            ),
        }

    def predict_maps(self, maps: Maps) -> tuple[list[Maps], Maps, Tensor]:
        """Run the head of the boxes and that of the features."""
        *dense, kernels = self.head(maps)
        return dense, kernels, self.features(maps)


class _DynamicConvolutions(nn.Module):
    """A few 1x1 convolutions with the weights that each detection predicts.

    They see the features of the image and where each cell lies from the detection.
    """

    def __init__(self, head: nn.Module, size_of_interest: int) -> None:
        super().__init__()
        self.counts = [*head.weight_nums, *head.bias_nums]
        self.generator, self.size_of_interest = head.prior_generator, size_of_interest

    def forward(self, features: Tensor, kernels: Maps, found: Detections) -> Tensor:
        """Logits, (K, h, w), from features, (1, C, h, w), and maps of kernels."""
        size = features.shape[2:]
        weights, biases = self._split(kernels, found)
        first = weights[0]
        # The features are the same for all detections: one product of matrices.
        values = first[:, :, 2:].flatten(0, 1) @ features[0].flatten(1)
        values = values.reshape(*first.shape[:2], values.shape[1])
        values = values + first[:, :, :2] @ self._coordinates(found, size)
        values = values + biases[0]
        for weight, bias in zip(weights[1:], biases[1:]):
            values = weight @ values.relu() + bias
        return values.reshape(values.shape[0], *size)

    def _split(
        self, kernels: Maps, found: Detections
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Weights, (K, out, in), and biases, (K, out, 1), of each convolution."""
        kernel = torch.cat([flatten(level, sum(self.counts)) for level in kernels])
        parts = kernel[found.rows].split(self.counts, dim=1)
        middle = len(parts) // 2
        biases = [bias[:, :, None] for bias in parts[middle:]]
        weights = [
            weight.unflatten(1, (bias.shape[1], -1))
            for weight, bias in zip(parts[:middle], biases)
        ]
        return weights, biases

    def _coordinates(self, found: Detections, size: tuple[int, int]) -> Tensor:
        """From each cell to the priors of the detections, (K, 2, h * w)."""
        cells = self.generator.single_level_grid_priors(
            size, level_idx=0, device=found.priors.device
        )
        offsets = found.priors[:, :, None] - cells.T[None]
        return offsets / (found.strides * self.size_of_interest)[:, None, None]
