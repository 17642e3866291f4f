"""Features of regions of interest, on plain tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmrapidnet.deploy.ops import roi_align


class RoIFeatures(nn.Module):
    """The features of boxes, each from the level of the pyramid that fits its size.

    They are returned level by level, with the place of each box among them: what the
    heads make of them is smaller, so it is cheaper to put that in order.

    Args:
        extractor: mmdet's ``SingleRoIExtractor`` of ``RoIAlign``. It is shared, not
            copied.
    """

    def __init__(self, extractor: nn.Module) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(
        self, features: tuple[Tensor, ...], boxes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Align the features with boxes.

        Args:
            features: The maps of the neck, (1, C, H_i, W_i).
            boxes: Corners (x1, y1, x2, y2) in pixels, (K, 4).

        Returns:
            Features, (K, C, h, w), and the row of each box in them, (K,).
        """
        layers = self.extractor.roi_layers
        rois = torch.cat([torch.zeros_like(boxes[:, :1]), boxes], dim=1)
        level = self.extractor.map_roi_levels(rois, len(layers))
        members = [(level == i).nonzero()[:, 0] for i in range(len(layers))]
        if layers[0].aligned and layers[0].sampling_ratio == 0:
            # An empty box has no samples: mmcv makes that 0, OpenVINO nan. A box far
            # outside has samples, all of them 0.
            empty = (boxes[:, 2:] - boxes[:, :2]).amin(dim=1, keepdim=True) <= 0
            outside = boxes.new_tensor([-999.0, -999.0, -998.0, -998.0])
            boxes = torch.where(empty, outside, boxes)
        aligned = [
            roi_align(
                feature,
                boxes[member],
                *layer.output_size,
                layer.spatial_scale,
                layer.sampling_ratio,
                layer.aligned,
            )
            for feature, member, layer in zip(features, members, layers)
        ]
        return torch.cat(aligned), torch.cat(members).argsort()
