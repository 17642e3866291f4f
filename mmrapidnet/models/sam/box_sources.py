"""Where boxes come from: the ground truth, a result file, a detector.

Each source gives those of an image in its original pixels, with scores and labels.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn

from mmrapidnet.checkpoints.fused import refuse_fused
from mmrapidnet.checkpoints.state_dict import (
    check_fits,
    get_state_dict,
    read_checkpoint,
)
from mmrapidnet.config.libraries import require_library
from mmrapidnet.config.load import load_config
from mmrapidnet.utils.errors import UserError, in_one_line


def take_ground_truth(sample: BaseDataElement) -> InstanceData:
    """Take an image's own boxes, with scores of 1; crowds are left out.

    Args:
        sample: A sample of mmdet's ``PackDetInputs``, whose annotations were loaded
            after any resizing, as mmdet's test pipelines do.

    Returns:
        ``bboxes`` (N, 4), ``scores`` (N,) and ``labels`` (N,).

    Raises:
        UserError: If the annotations were not loaded.
    """
    truth = sample.get('gt_instances', ())
    if 'bboxes' not in truth:
        raise UserError(
            "boxes='gt' of PromptedInstanceSegmentor, but the images come without: the "
            'test pipeline needs LoadAnnotations(with_bbox=True)'
        )
    boxes = getattr(truth.bboxes, 'tensor', truth.bboxes)
    return InstanceData(
        bboxes=boxes, scores=boxes.new_ones(len(boxes)), labels=truth.labels
    )


class ResultFileBoxes:
    """The boxes of a COCO result file, such as mmdet's ``CocoMetric`` writes.

    Args:
        path: A list of records with ``image_id``, ``category_id``, ``bbox`` (x, y,
            width, height) and ``score``.
        ann_file: The data set's annotations, which list its images and number its
            categories.
        classes: The names of the data set's classes, if they are not all categories of
            ``ann_file``; boxes of others are left out. Defaults to None.

    Raises:
        UserError: If a file cannot be read, or the results are of other images or
            categories than ``ann_file`` lists.
    """

    def __init__(
        self, path: str, ann_file: str, classes: Sequence[str] | None = None
    ) -> None:
        with in_one_line(f'{ann_file} cannot be read as a COCO data set'):
            truth = json.loads(Path(ann_file).read_bytes())
            images = {image['id'] for image in truth['images']}
            names = {each['id']: each['name'] for each in truth['categories']}
        # The order of mmdet's CocoDataset.
        kept = (k for k, name in names.items() if classes is None or name in classes)
        labels = {key: label for label, key in enumerate(kept)}
        with in_one_line(f'{path} cannot be read as COCO results with boxes'):
            rows = defaultdict(list)
            for record in json.loads(Path(path).read_bytes()):
                image, category = record['image_id'], record['category_id']
                if image not in images or category not in names:
                    raise UserError(
                        f'{path} has a box of category {category} in image {image}, '
                        f'but {ann_file} does not list both: give the results of the '
                        'same data set'
                    )
                if category in labels:
                    row = [*record['bbox'], record['score'], labels[category]]
                    rows[image].append(row)
            self._rows = {image: torch.tensor(some) for image, some in rows.items()}
            if any(some.shape[1] != 6 for some in self._rows.values()):
                raise ValueError('a bbox is not of four numbers')

    def __call__(self, sample: BaseDataElement) -> InstanceData:
        """Find the boxes of an image; none if the file has none of it.

        Args:
            sample: With the image's ``img_id``.

        Returns:
            As `take_ground_truth`.
        """
        rows = self._rows.get(sample.img_id, torch.zeros(0, 6))
        corner, size = rows[:, :2], rows[:, 2:4]
        return InstanceData(
            bboxes=torch.cat([corner, corner + size], dim=1),
            scores=rows[:, 4],
            labels=rows[:, 5].long(),
        )


class DetectorBoxes:
    """The boxes of a detector, which reads the image by its own test pipeline.

    Args:
        config: Path of an mmdet config.
        checkpoint: Path or URL of its weights.
        device: Where it runs.

    Raises:
        UserError: If the config is of no detector, or the checkpoint cannot be read or
            does not fill it.
    """

    def __init__(self, config: str, checkpoint: str, device: torch.device) -> None:
        cfg = load_config(config)
        if require_library(cfg) != 'mmdet' or not cfg.get('test_dataloader'):
            raise UserError(
                f'{config} is the config of no detector: give one of mmdet with a '
                'test_dataloader, such as configs/maskrcnn_repvit_m2_3_coco.py'
            )
        self.config = config
        content = read_checkpoint(checkpoint)
        refuse_fused(content, checkpoint)
        with DefaultScope.overwrite_default_scope('mmdet'):
            self._pipeline = _build_pipeline(cfg)
            model = _fill(MODELS.build(cfg.model), content, checkpoint)
        self._model = revert_sync_batchnorm(model).to(device).eval()
        self._model.cfg = cfg

    def __call__(self, sample: BaseDataElement) -> InstanceData:
        """Detect the objects of an image.

        Args:
            sample: With the image's ``img_path``.

        Returns:
            As `take_ground_truth`.

        Raises:
            UserError: If the detector gives no boxes.
        """
        from mmdet.apis import inference_detector

        with DefaultScope.overwrite_default_scope('mmdet'):
            found = inference_detector(self._model, sample.img_path, self._pipeline)
        objects: Any = found.get('pred_instances', ())
        if 'bboxes' not in objects:
            raise UserError(
                f'{self.config} gives no boxes, which SAM needs as prompts: give the '
                'config of a detector'
            )
        names = ('bboxes', 'scores', 'labels')
        return InstanceData(**{name: objects[name] for name in names})


def _build_pipeline(cfg: Config) -> Any:
    from mmcv.transforms import Compose
    from mmdet.utils import get_test_pipeline_cfg

    return Compose(get_test_pipeline_cfg(cfg))


def _fill(model: nn.Module, content: dict[str, Any], checkpoint: str) -> nn.Module:
    check_fits(model, content, checkpoint)
    state: dict[str, Tensor] = get_state_dict(content, checkpoint)
    model.load_state_dict({name: state[name] for name in model.state_dict()})
    return model
