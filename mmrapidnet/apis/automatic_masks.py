"""Masks of everything in an image: a grid of points, and what is left of their masks.

The thresholds, their defaults and the form of the results are those of
``segment-anything``'s ``SamAutomaticMaskGenerator``.  Masks whose predicted IoU is too
low are left out before they are enlarged to the size of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from mmrapidnet.apis.segment_anything import SegmentAnythingPredictor
from mmrapidnet.models.sam.segment_anything import CHUNK, MASK_THRESHOLD
from mmrapidnet.utils.errors import UserError

OUTPUT_MODES = ('binary_mask', 'uncompressed_rle', 'coco_rle')


@dataclass
class AutomaticMaskGenerator:
    """Generates the masks of everything in an image.

    Args:
        predictor: What gives the masks of points.
        points_per_side: Points along each side of the image; None for ``point_grids``.
            Defaults to 32.
        points_per_batch: Points of one call of the decoder. Defaults to 64.
        pred_iou_thresh: Masks of which the model expects no more are left out.
            Defaults to 0.88.
        stability_score_thresh: Masks that are less stable are left out. Defaults to
            0.95.
        stability_score_offset: Stability is the IoU of the masks whose thresholds are
            so much higher and lower. Defaults to 1.0.
        box_nms_thresh: Of two masks whose boxes have a higher IoU, one is left out.
            Defaults to 0.7.
        crop_n_layers: Further layers of crops, of ``4**i`` crops each, that are looked
            at as well. Defaults to 0.
        crop_nms_thresh: ``box_nms_thresh`` for masks of different crops. Defaults to
            0.7.
        crop_overlap_ratio: How far crops of the first layer overlap, as a part of the
            shorter side. Defaults to 512 / 1500.
        crop_n_points_downscale_factor: Each layer has so many times fewer points along
            a side. Defaults to 1.
        point_grids: For each layer points (N, 2) in [0, 1], instead of
            ``points_per_side``. Defaults to None.
        min_mask_region_area: Holes and islands of fewer pixels are removed. Defaults
            to 0.
        output_mode: 'binary_mask', 'uncompressed_rle' or 'coco_rle'. Defaults to
            'binary_mask'.
        show_progress: Whether to show how many points are done. Defaults to False.

    Raises:
        UserError: If there are no points or two kinds of them, or the mode is unknown.
    """

    predictor: SegmentAnythingPredictor
    points_per_side: int | None = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    point_grids: Sequence[np.ndarray] | None = None
    min_mask_region_area: int = 0
    output_mode: str = 'binary_mask'
    show_progress: bool = False

    def __post_init__(self) -> None:
        if (self.points_per_side is None) == (self.point_grids is None):
            raise UserError('give either points_per_side or point_grids')
        if self.output_mode not in OUTPUT_MODES:
            raise UserError(
                f"output_mode='{self.output_mode}': choose {', '.join(OUTPUT_MODES)}"
            )
        if self.point_grids is None:
            self.point_grids = self._amg.build_all_layer_point_grids(
                self.points_per_side,
                self.crop_n_layers,
                self.crop_n_points_downscale_factor,
            )

    @property
    def _amg(self) -> ModuleType:
        """SAM's own functions, of a package that need not be installed."""
        from segment_anything.utils import amg

        return amg

    @torch.no_grad()
    def generate(self, image: np.ndarray) -> list[dict[str, Any]]:
        """Generate the masks of an image.

        Args:
            image: (H, W, 3), uint8, RGB.

        Returns:
            For each mask ``segmentation`` (a boolean array (H, W), or the RLE),
            ``area`` in pixels, ``bbox`` (x, y, width, height), ``predicted_iou``,
            ``point_coords`` (the point it is from), ``stability_score``, and
            ``crop_box`` (x, y, width, height).

        Raises:
            UserError: If it is no such image.
        """
        self.predictor.set_image(image)  # checks it, before it is cut into crops
        size = image.shape[:2]
        crops, layers = self._amg.generate_crop_boxes(
            size, self.crop_n_layers, self.crop_overlap_ratio
        )
        masks = self._amg.MaskData()
        for number, (crop, layer) in enumerate(zip(crops, layers)):
            if number > 0:
                x1, y1, x2, y2 = crop
                self.predictor.set_image(image[y1:y2, x1:x2])
            masks.cat(self._segment_crop(crop, self.point_grids[layer], size))
        self.predictor.reset_image()
        if len(crops) > 1:
            x1, y1, x2, y2 = masks['crop_boxes'].unbind(1)
            scores = 1 / ((x2 - x1) * (y2 - y1))  # masks of smaller crops first
            masks.filter(_suppress(masks['boxes'], scores, self.crop_nms_thresh))
        if self.min_mask_region_area > 0:
            self._remove_small_regions(masks)
        return self._make_records(masks)

    def _segment_crop(
        self, crop: list[int], grid: np.ndarray, size: tuple[int, int]
    ) -> Any:
        """The masks (``MaskData``) of the points of the crop that is set."""
        x1, y1, x2, y2 = crop
        points = grid * (x2 - x1, y2 - y1)
        batches = [
            points[first : first + self.points_per_batch]
            for first in range(0, len(points), self.points_per_batch)
        ]
        masks = self._amg.MaskData()
        shown = track(batches, 'Masks', disable=not self.show_progress, transient=True)
        for batch in shown:
            masks.cat(self._segment_points(batch, crop, size))
        keep = _suppress(masks['boxes'], masks['iou_preds'], self.box_nms_thresh)
        masks.filter(keep)
        masks['boxes'] = self._amg.uncrop_boxes_xyxy(masks['boxes'], crop)
        masks['points'] = self._amg.uncrop_points(masks['points'], crop)
        masks['crop_boxes'] = torch.tensor(crop).repeat(len(keep), 1)
        return masks

    def _segment_points(
        self, points: np.ndarray, crop: list[int], size: tuple[int, int]
    ) -> Any:
        logits, ious = self.predictor.predict_logits(
            points[:, None], np.ones((len(points), 1))
        )
        masks = self._amg.MaskData(
            logits=logits.flatten(0, 1),
            iou_preds=ious.flatten(),
            points=torch.as_tensor(points).repeat_interleave(logits.shape[1], 0),
        )
        if self.pred_iou_thresh > 0:
            masks.filter(masks['iou_preds'] > self.pred_iou_thresh)
        scores, drawn = self._draw(masks['logits'])
        del masks['logits']
        masks['stability_score'], masks['masks'] = scores, drawn
        if self.stability_score_thresh > 0:
            masks.filter(scores >= self.stability_score_thresh)
        masks['boxes'] = self._amg.batched_mask_to_box(masks['masks'])
        height, width = size
        image = [0, 0, width, height]
        masks.filter(~self._amg.is_box_near_crop_edge(masks['boxes'], crop, image))
        whole = self._amg.uncrop_masks(masks['masks'], crop, height, width)
        masks['rles'] = self._amg.mask_to_rle_pytorch(whole)
        del masks['masks']
        return masks

    def _draw(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """How stable masks (M, 4 h, 4 w) are, and the masks in the crop's size."""
        scores, drawn = [], []
        for part in logits[:, None].split(CHUNK):
            masks = self.predictor.upscale(part)[:, 0]
            scores.append(
                self._amg.calculate_stability_score(
                    masks, MASK_THRESHOLD, self.stability_score_offset
                )
            )
            drawn.append(masks > MASK_THRESHOLD)
        return torch.cat(scores), torch.cat(drawn)

    def _remove_small_regions(self, masks: Any) -> None:
        """Fill small holes, remove small islands, and what is double after that."""
        if not masks['rles']:
            return
        scores = []
        for number, rle in enumerate(masks['rles']):
            mask, filled = self._amg.remove_small_regions(
                self._amg.rle_to_mask(rle), self.min_mask_region_area, mode='holes'
            )
            mask, removed = self._amg.remove_small_regions(
                mask, self.min_mask_region_area, mode='islands'
            )
            # Masks that were not changed go before others.
            scores.append(0.0 if filled or removed else 1.0)
            if filled or removed:
                mask = torch.from_numpy(np.ascontiguousarray(mask))
                (masks['rles'][number],) = self._amg.mask_to_rle_pytorch(mask[None])
                masks['boxes'][number] = self._amg.batched_mask_to_box(mask)
        threshold = max(self.box_nms_thresh, self.crop_nms_thresh)
        masks.filter(_suppress(masks['boxes'], torch.tensor(scores), threshold))

    def _make_records(self, masks: Any) -> list[dict[str, Any]]:
        encode = {
            'binary_mask': self._amg.rle_to_mask,
            'uncompressed_rle': lambda rle: rle,
            'coco_rle': self._amg.coco_encode_rle,
        }[self.output_mode]
        return [
            dict(
                segmentation=encode(rle),
                area=self._amg.area_from_rle(rle),
                bbox=self._amg.box_xyxy_to_xywh(masks['boxes'][i]).tolist(),
                predicted_iou=masks['iou_preds'][i].item(),
                point_coords=[masks['points'][i].tolist()],
                stability_score=masks['stability_score'][i].item(),
                crop_box=self._amg.box_xyxy_to_xywh(masks['crop_boxes'][i]).tolist(),
            )
            for i, rle in enumerate(masks['rles'])
        ]


def _suppress(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """The indices of the boxes that non-maximum suppression keeps, the best first."""
    from mmcv.ops import nms

    order = scores.argsort(descending=True, stable=True).to(boxes.device)
    # Ranks for scores: of equal ones, the first goes first.
    ranks = torch.arange(len(order), 0, -1, dtype=torch.float32, device=boxes.device)
    boxes = boxes.reshape(-1, 4)[order].float()
    return order[nms(boxes, ranks, threshold)[1]]
