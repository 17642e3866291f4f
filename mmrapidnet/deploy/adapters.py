"""Exported files as models of mmdet, mmsegmentation and mmpretrain.

Importing this module registers them, so that mmengine's runner and the libraries'
inferencers run a file through a config's own pipeline and metrics.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import Tensor

from mmrapidnet.deploy.inference import ExportedModel
from mmrapidnet.deploy.metadata import check_config
from mmrapidnet.utils.errors import UserError, sanitize

# Scope of a config: the model that takes the place of its own.
_ADAPTORS = {
    'mmdet': 'ExportedDetector',
    'mmseg': 'ExportedSegmenter',
    'mmpretrain': 'ExportedClassifier',
}


def use_exported(cfg: Config, path: str | Path) -> None:
    """Put an exported file into the place of a config's model.

    The data, their pipeline and the metrics stay as they are.  The images of a batch
    are run at once if they are of one size and the file takes more than one.

    Args:
        cfg: The config the file was exported with, of mmdet, mmsegmentation or
            mmpretrain; changed in place.
        path: The file.

    Raises:
        UserError: If the config tests with augmentation or on several processes.
            Building the model raises one if the file cannot be run, is of another
            config, or holds only a part of a model.
    """
    if 'tta_model' in cfg and cfg.model == cfg.tta_model:
        raise UserError(
            f'--tta merges the logits of a model; {path} is an exported file, which is '
            'tested as it is: leave --tta out'
        )
    if cfg.get('launcher', 'none') != 'none':
        raise UserError(
            f'--launcher {cfg.launcher}: {path} is an exported file, which is tested '
            'in one process'
        )
    adaptor = _ADAPTORS[cfg.default_scope]
    cfg.model = dict(type=adaptor, path=str(path), model=cfg.model)
    # It is in the file.
    cfg.pop('data_preprocessor', None)
    cfg.load_from = None
    cfg.resume = False


class ExportedFile(BaseModel):
    """A file that predicts in the place of a model.

    Args:
        path: The file.
        model: The config of the model that it was exported from.

    Raises:
        UserError: If the file cannot be run, is of another config, or holds
            something else.
    """

    kind: str

    def __init__(self, path: str, model: dict[str, Any]) -> None:
        super().__init__()
        self.file = ExportedModel(path, isolated=True)
        metadata = self.file.metadata
        check_config(metadata, Config(dict(model=model)), path)
        if metadata['kind'] != self.kind:
            raise UserError(
                f'{path} holds the {sanitize(metadata["kind"])} of '
                f'{sanitize(metadata.get("config"))}, which cannot be tested or drawn: '
                f'a whole {self.kind} is needed, exported with --part whole'
            )
        self.dataset_meta = {'classes': metadata['classes']}
        if isinstance(metadata['palette'], list):
            # mmdet tells colours by their being tuples.
            self.dataset_meta['palette'] = [tuple(c) for c in metadata['palette']]

    def forward(
        self,
        inputs: list[Tensor] | Tensor,
        data_samples: list[BaseDataElement],
        mode: str = 'predict',
    ) -> list[BaseDataElement]:
        """Predict.

        Args:
            inputs: Images of (3, H, W), uint8, BGR, as the pipeline packs them.
            data_samples: What the pipeline packed with them.
            mode: 'predict': a file does nothing else.

        Returns:
            The data samples, with the predictions.
        """
        if mode != 'predict':
            raise NotImplementedError(f'an exported file predicts, it has no {mode}')
        found = self.file.predict_all(
            [image.permute(1, 2, 0).cpu().numpy() for image in inputs],
            [sample.get('ori_shape') for sample in data_samples],
            [sample.get('scale_factor') for sample in data_samples],
        )
        for results, sample in zip(found, data_samples, strict=True):
            self.put_into(sample, results)
        return data_samples

    @abstractmethod
    def put_into(self, sample: BaseDataElement, found: dict[str, np.ndarray]) -> None:
        """Put what the file gives for an image into its sample."""


@MODELS.register_module()
class ExportedDetector(ExportedFile):
    """An exported detector, in mmdet."""

    kind = 'detector'

    def put_into(self, sample: BaseDataElement, found: dict[str, np.ndarray]) -> None:
        """Give instances, or a panoptic map, in pixels of the original image."""
        tensors = {name: torch.from_numpy(array) for name, array in found.items()}
        if 'panoptic' in tensors:
            sample.pred_panoptic_seg = PixelData(sem_seg=tensors['panoptic'][None])
            return
        boxes = tensors.pop('boxes')
        sample.pred_instances = InstanceData(bboxes=boxes, **tensors)


@MODELS.register_module()
class ExportedSegmenter(ExportedFile):
    """An exported semantic segmentor, in mmseg."""

    kind = 'segmenter'

    def put_into(self, sample: BaseDataElement, found: dict[str, np.ndarray]) -> None:
        """Give the labels of the pixels of the original image."""
        sample.pred_sem_seg = PixelData(data=torch.from_numpy(found['labels'])[None])


@MODELS.register_module()
class ExportedClassifier(ExportedFile):
    """An exported classifier, in mmpretrain."""

    kind = 'classifier'

    def put_into(self, sample: BaseDataElement, found: dict[str, np.ndarray]) -> None:
        """Give the scores of the classes."""
        scores = torch.from_numpy(found['scores'])
        sample.set_pred_score(scores).set_pred_label(scores.argmax(dim=0, keepdim=True))
