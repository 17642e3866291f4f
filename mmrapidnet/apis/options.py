"""What the options of training and testing mean for a config of each library."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Literal

import torch
from mmengine.config import Config
from mmengine.utils import digit_version

from mmrapidnet.config.evaluators import add_metric, evaluates_apart
from mmrapidnet.config.load import add_hook, iter_datasets
from mmrapidnet.engine.dist import number_of_processes
from mmrapidnet.engine.hooks import accumulation, channels_last
from mmrapidnet.engine.hooks.predictions import DrawPredictionsHook, SaveLabelMapsHook
from mmrapidnet.engine.resume import AUTO
from mmrapidnet.utils.errors import UserError
from mmrapidnet.utils.folders import make_folder

# Optimizers that torch has in one pass, on a CPU since 2.4.
_FUSED = ('Adam', 'AdamW', 'SGD')


def enable_amp(cfg: Config) -> None:
    """Train with automatic mixed precision (bfloat16 where there is no GPU).

    Args:
        cfg: The config, changed in place.

    Raises:
        UserError: If the config's optimizer wrapper is of a kind of its own.
    """
    wrapper = cfg.get('optim_wrapper') or dict(type=None)
    kind = wrapper.get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise UserError(
            f"--amp needs optim_wrapper.type to be 'OptimWrapper', but it is '{kind}'"
        )
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def enable_fast_step(cfg: Config) -> None:
    """Train in less time with the same numbers but for rounding.

    Feature maps lie as NHWC in memory, and the optimizer is PyTorch's fused one where
    there is one (Adam, AdamW and SGD of torch >= 2.4).

    Args:
        cfg: The config, changed in place.
    """
    fuse_optimizer(cfg)
    add_hook(cfg, channels_last.ChannelsLastHook)


def fuse_optimizer(cfg: Config) -> None:
    """Let the optimizer change each parameter in one pass, where PyTorch can.

    Args:
        cfg: The config, changed in place.
    """
    optimizer = (cfg.get('optim_wrapper') or {}).get('optimizer') or {}
    if optimizer.get('type') in _FUSED and digit_version(torch.__version__) >= (2, 4):
        optimizer.setdefault('fused', True)


def enable_auto_scale_lr(cfg: Config) -> None:
    """Scale the learning rate with the images per step over the config's base.

    Args:
        cfg: The config, changed in place.

    Raises:
        UserError: If the config does not say for which batch its rate was set.
    """
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise UserError(
            '--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in the '
            'config: the number of images per step its learning rate was set for'
        )
    cfg.auto_scale_lr.enable = True


def accumulate(cfg: Config, parts: int | Literal['recipe']) -> None:
    """Give each step the images of several batches, whose gradients are added up.

    An iteration then is a step of so many times the images, as on so many times the
    devices; rates, schedules and intervals stay what they are.

    Args:
        cfg: The config, changed in place.
        parts: Batches per step; 'recipe' for as many as make the images per step those
            that the config's learning rate was set for.

    Raises:
        UserError: If it is not positive, or the config does not say for which batch its
            rate was set or that is not a multiple of what the processes take.
    """
    loader = cfg.get('train_dataloader') or {}
    if 'batch_size' not in loader:
        raise UserError('--accumulate needs train_dataloader.batch_size in the config')
    if parts == 'recipe':
        parts = _parts_of_recipe(cfg)
    if parts < 1:
        raise UserError(f'--accumulate {parts}: it must be a number of batches above 0')
    add_hook(
        cfg, accumulation.GradientAccumulationHook, batch_size=loader['batch_size']
    )
    loader['batch_size'] *= parts


def batches(text: str) -> int | str:
    """Read the value of ``--accumulate``.

    Args:
        text: A number, or 'recipe', which argparse reads for the option without one.

    Returns:
        The number, or 'recipe'.

    Raises:
        ValueError: If it is something else.
    """
    return text if text == 'recipe' else int(text)


def _parts_of_recipe(cfg: Config) -> int:
    base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    if base is None:
        raise UserError(
            '--accumulate without a number needs auto_scale_lr=dict(base_batch_size='
            '...) in the config: the number of images per step its learning rate was '
            'set for'
        )
    processes = number_of_processes(cfg)
    batch = cfg.train_dataloader.batch_size
    parts, rest = divmod(base, processes * batch)
    if rest:
        raise UserError(
            f'--accumulate: {base} images per step (auto_scale_lr.base_batch_size) are '
            f'not a multiple of {processes} processes x {batch} images; choose another '
            'train_dataloader.batch_size, or give --accumulate N and --auto-scale-lr'
        )
    return parts


def start_backbone_from(cfg: Config, checkpoint: str) -> None:
    """Start the backbone from the weights in a file.

    Args:
        cfg: The config, changed in place.
        checkpoint: A file with the backbone's weights, bare or of a whole model.

    Raises:
        UserError: If the model has no backbone.
    """
    if not cfg.model.get('backbone'):
        raise UserError(
            f'--pretrained {checkpoint}: the model of this config has no backbone of '
            'its own; name the file in an init_cfg of the part that has'
        )
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=checkpoint)


def save_predictions(cfg: Config, out: str) -> None:
    """Keep the predictions on the test set.

    Args:
        cfg: The config, changed in place.
        out: For segmentation a folder of label maps, otherwise a pickle file.

    Raises:
        UserError: If the pickle file is not called ``.pkl`` or its folder cannot be
            made, or the data sets are evaluated apart.
    """
    if cfg.default_scope == 'mmseg':
        add_hook(cfg, SaveLabelMapsHook, out_dir=out)
        return
    if evaluates_apart(cfg.test_evaluator):
        raise UserError(
            f'--out {out}: test_evaluator evaluates data sets apart and leaves out '
            'a metric that keeps the predictions: test one data set at a time'
        )
    if not out.endswith(('.pkl', '.pickle')):
        raise UserError(
            f'--out {out}: the predictions of a detector or a classifier go into a '
            '.pkl file'
        )
    make_folder(Path(out).parent)
    kind = 'DumpDetResults' if cfg.default_scope == 'mmdet' else 'DumpResults'
    add_metric(cfg, 'test_evaluator', dict(type=kind, out_file_path=out))


def draw_predictions(cfg: Config, folder: str) -> None:
    """Draw predictions beside the ground truth while testing.

    Args:
        cfg: The config, changed in place.
        folder: Where the pictures go, in sub folders as the images.
    """
    usual = (cfg.get('default_hooks') or {}).get('visualization') or {}
    add_hook(
        cfg, DrawPredictionsHook, out_dir=folder, score_thr=usual.get('score_thr', 0.3)
    )


def enable_tta(cfg: Config) -> None:
    """Test with augmentation (scales and flips), where the library has it.

    Args:
        cfg: The config, changed in place.

    Raises:
        UserError: If the library or the config has none.
    """
    roi_head = cfg.model.get('roi_head') or {}
    if cfg.default_scope == 'mmdet' and roi_head.get('mask_head'):
        raise UserError('--tta: mmdet has no test-time augmentation for masks')
    if 'tta_model' not in cfg or 'tta_pipeline' not in cfg:
        raise UserError('--tta needs tta_model and tta_pipeline in the config')
    for dataset in iter_datasets(cfg.test_dataloader):
        dataset.pipeline = cfg.tta_pipeline
    cfg.tta_model.module = deepcopy(cfg.model)
    cfg.model = cfg.tta_model


def resume_from(cfg: Config, checkpoint: str) -> None:
    """Go on with an interrupted run.

    Args:
        cfg: The config, changed in place.
        checkpoint: A checkpoint, or 'auto' for the newest whole one in the work dir;
            without any there, the run starts as the config says.
    """
    if checkpoint == AUTO:
        cfg.resume = AUTO
    else:
        cfg.update(resume=True, load_from=checkpoint)
