"""COCO's mean average precision with all its digits; mmdet rounds it to three."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

from mmrapidnet.datasets.check.coco.ids import number_annotations


def measure_map(annotations: str | Path, detections: str | Path, kind: str) -> float:
    """Evaluate detections in COCO's format as mmdet's ``CocoMetric`` does.

    Args:
        annotations: The ground truth, a COCO file.
        detections: What ``CocoMetric`` wrote with ``outfile_prefix``.
        kind: 'bbox' or 'segm'.

    Returns:
        The mean over IoU thresholds 0.50 to 0.95, all sizes, at most 100 detections
        an image; from 0 to 1.
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
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])
