"""COCO's mean average precision with all its digits; mmdet rounds it to three."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

from mmrapidnet.datasets.check.coco.ids import number_annotations


def measure_map(
    annotations: str | Path, detections: str | Path, kind: str, counted: int = 100
) -> float:
    """Evaluate detections in COCO's format as mmdet's ``CocoMetric`` does.

    Args:
        annotations: The ground truth, a COCO file.
        detections: What ``CocoMetric`` wrote with ``outfile_prefix``.
        kind: 'bbox' or 'segm'.
        counted: Detections an image that count, those of the highest scores. Defaults
            to 100.

    Returns:
        The mean over IoU thresholds 0.50 to 0.95 and all sizes; from 0 to 1.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    found = json.loads(Path(detections).read_text())
    if not found:
        return 0.0
    if kind == 'segm':
        # Sizes are those of the masks.
        found = [{k: v for k, v in one.items() if k != 'bbox'} for one in found]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        number_annotations(truth.dataset['annotations'])
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), kind)
        evaluation.params.maxDets = [counted]
        evaluation.evaluate()
        evaluation.accumulate()
    # Axes: threshold, recall, class, size (all of them first), number of detections.
    precision = evaluation.eval['precision'][..., 0, 0]
    return float(precision[precision > -1].mean())
