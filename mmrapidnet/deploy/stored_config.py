"""A model from the config that mmengine stored in its checkpoint.

The text is read as data, yet building a model from data is no less than calling what
the data name: mmengine's registries import any dotted name
(``type='subprocess.Popen'``), and some of the models they know load further files.
So only the parts of this project's own models are built, none of which reads or
starts anything.
"""

from __future__ import annotations

from copy import deepcopy
from importlib import import_module
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from mmrapidnet.checkpoints.labels import get_meta
from mmrapidnet.checkpoints.pretrained import check_fits
from mmrapidnet.checkpoints.targets import WithoutWeights
from mmrapidnet.compat import config_text
from mmrapidnet.deploy.loading import build_model, load_model
from mmrapidnet.engine.shapes import iter_dicts
from mmrapidnet.errors import UserError, plain

# By the names in the configs of this project.
TYPES = {
    *('MaskRCNN', 'FPN', 'RPNHead', 'AnchorGenerator', 'DeltaXYWHBBoxCoder'),
    *('MaxIoUAssigner', 'RandomSampler', 'StandardRoIHead', 'SingleRoIExtractor'),
    *('RoIAlign', 'Shared2FCBBoxHead', 'FCNMaskHead', 'nms', 'DetDataPreprocessor'),
    *('EncoderDecoder', 'FPNHead', 'SegDataPreProcessor'),
    *('ImageClassifier', 'DistilledImageClassifier', 'ClsDataPreprocessor'),
    *('DistilledClsHead', 'DistilledClassifier', 'DistilledLinearClassifier'),
    *('LinearClsHead', 'GlobalAveragePooling', 'CutMix', 'Mixup'),
    *('RapidNet', 'RepViT', 'MobileViG', 'MobileNetV2', 'ResNet'),
    *('BN', 'SyncBN', 'ReLU', 'GELU'),
    *('CrossEntropyLoss', 'L1Loss', 'SmoothL1Loss', 'LabelSmoothLoss'),
}
_SCOPES = ('', 'mmdet', 'mmseg', 'mmpretrain')
# Nothing of these is needed for the weights that a file brings, and they name files.
_LEFT_OUT = ('init_cfg', 'pretrained', 'teacher')


def load_stored_model(content: dict[str, Any], checkpoint: str) -> nn.Module:
    """Build a checkpoint's model from the config in it, and fill it.

    Args:
        content: The content of the checkpoint.
        checkpoint: Its name, for messages.

    Returns:
        The model, in evaluation mode.

    Raises:
        UserError: If there is no config of a model, it names something that is not
            part of this project's models, or no model comes of it.
    """
    cfg = _read(content, checkpoint)
    # The imports that it names are not executed; those of ours do no harm.
    if cfg.get('default_scope') == 'mmpretrain':
        import_module('mmrapidnet.models.classifiers')
    try:
        # What it claims to need is not allocated before the weights are known to fit.
        with WithoutWeights():
            check_fits(build_model(deepcopy(cfg)), content, checkpoint)
        return load_model(cfg, content, checkpoint)
    except (torch.cuda.OutOfMemoryError, UserError):
        raise
    # Whatever its arguments make of the parts.
    except Exception as error:
        raise UserError(
            f'no model comes of the config in {checkpoint} '
            f'({type(error).__name__}: {plain(error)}): give the config with --config'
        ) from error


def _read(content: dict[str, Any], checkpoint: str) -> Config:
    text = get_meta(content).get('cfg')
    stored = config_text.parse(text or '')
    model = stored.get('model')
    if not isinstance(model, dict):
        raise UserError(
            f'{checkpoint} brings no config of its model: give the config with --config'
        )
    kept = {
        key: stored[key]
        for key in ('default_scope', 'model', 'data_preprocessor')
        if key in stored
    }
    for part in iter_dicts(kept):
        for key in _LEFT_OUT:
            part.pop(key, None)
        # mmengine writes the library of each part next to it.
        library = part.get('_scope_', '')
        scope, _, name = str(part.get('type', '')).rpartition('.')
        foreign = [key for key in part if str(key).startswith('_') and key != '_scope_']
        if 'type' in part and not (scope in _SCOPES and name in TYPES):
            foreign.append(part['type'])
        if library not in _SCOPES:
            foreign.append(library)
        if foreign:
            raise UserError(
                f'the config in {checkpoint} names {plain(foreign[0])}, which is '
                'no part of the models of this project and is not built unasked: give '
                'the config with --config'
            )
    return Config(kept)
