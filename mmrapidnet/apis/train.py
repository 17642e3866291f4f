"""Train a model from a config."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmrapidnet.apis.report import report_metrics
from mmrapidnet.checkpoints.dataset_meta import get_labels
from mmrapidnet.checkpoints.fused import refuse_fused
from mmrapidnet.checkpoints.latest import read_run
from mmrapidnet.checkpoints.state_dict import check_fits, check_start, read_checkpoint
from mmrapidnet.config.libraries import require_library
from mmrapidnet.config.load import add_hook, check_work_dir
from mmrapidnet.config.panoptic import require_panopticapi
from mmrapidnet.datasets.check.precheck import check_datasets
from mmrapidnet.engine.confusion import count_confusion
from mmrapidnet.engine.dist import naming_lost_ranks
from mmrapidnet.engine.hooks.broadcast_buffers import BroadcastBuffersHook
from mmrapidnet.engine.hooks.check_invalid_loss import CheckInvalidLossHook
from mmrapidnet.engine.hooks.check_warmup import CheckWarmupHook
from mmrapidnet.engine.hooks.class_order import ClassOrderHook
from mmrapidnet.engine.hooks.last_validation import (
    LastValidationHook,
    read_last_validation,
)
from mmrapidnet.engine.resume import (
    AUTO,
    adopt_seed,
    find_start,
    full_disk_in_one_line,
    make_resumable,
)
from mmrapidnet.engine.resume_settings import ResumeSettingsHook
from mmrapidnet.models.sam import DistilledSegmentAnything
from mmrapidnet.utils.errors import UserError
from mmrapidnet.utils.folders import make_folder


def train(cfg: Config, check_data: bool = False) -> dict[str, float]:
    """Train as the config says and report the metrics of the last validation.

    The run is repeatable and may be killed at any moment; see
    `mmrapidnet.engine.resume`.

    Args:
        cfg: The config of a run.
        check_data: Whether to read every image of the data sets once before.
            Defaults to False.

    Returns:
        The metrics of the last validation; empty if there was none.

    Raises:
        UserError: If the config has no recipe or accumulates gradients over iterations,
            a data set, checkpoint or teacher is missing or damaged, an image cannot be
            read, the loss becomes NaN, the disk is full, or another process of the job
            is lost.
    """
    _check(cfg, check_data)
    make_resumable(cfg)
    count_confusion(cfg, 'val_evaluator')
    if cfg.get('launcher', 'none') != 'none':
        add_hook(cfg, BroadcastBuffersHook)
    with naming_lost_ranks(), full_disk_in_one_line(cfg):
        runner = _prepare(cfg)
        runner.register_hook(CheckInvalidLossHook())
        runner.register_hook(CheckWarmupHook())
        runner.register_hook(LastValidationHook())
        progress = _ProgressHook()
        runner.register_hook(progress)
        runner.train()
        metrics, per_class = read_last_validation(runner)
        if progress.made:
            report_metrics(
                metrics,
                cfg.work_dir,
                'last validation',
                per_class,
                config=cfg.filename,
                iter=runner.iter,
            )
        else:
            print_log(
                'the run had ended before: there is nothing to train or to validate, '
                f'{cfg.work_dir}/metrics.json stays as it is',
                logger='current',
                level=logging.WARNING,
            )
    return metrics


class _ProgressHook(Hook):
    """Knows whether a run has trained or validated at all."""

    made = False

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        self.made = True

    def after_val_epoch(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        self.made = True


def _check(cfg: Config, check_data: bool) -> None:
    """Raise for whatever is wrong before it takes minutes to get there."""
    require_library(cfg)
    check_work_dir(cfg)
    if cfg.get('train_cfg') is None:
        raise UserError(
            f'{cfg.filename} has no training recipe (train_cfg): it is for testing '
            'weights, with tools/test.py CONFIG CHECKPOINT'
        )
    if (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1) != 1:
        raise UserError(
            'optim_wrapper.accumulative_counts='
            f'{cfg.optim_wrapper.accumulative_counts}: schedules, intervals and '
            'auto_scale_lr do not count it; leave it out and give --accumulate N'
        )
    used = ['train_dataloader', 'val_dataloader']
    require_panopticapi(cfg, used)
    check_datasets(cfg, used, thorough=check_data)
    if (cfg.model.get('head') or {}).get('distillation', 'none') != 'none':
        # It needs mmpretrain.
        from mmrapidnet.models.classifiers.teacher import Teacher

        Teacher.check(cfg.model.get('teacher'))
    if cfg.model.get('type') == DistilledSegmentAnything.__name__:
        DistilledSegmentAnything.check_teacher(cfg.model)


def _prepare(cfg: Config) -> Runner:
    """Build the runner, once it is known that it can start where it is to start."""
    start = read_start(cfg)
    if not cfg.get('resume'):
        runner = build_runner(cfg)
        if start:
            check_start(runner.model, *start)
        return runner
    adopt_seed(cfg, start[0])
    runner = build_runner(cfg)
    check_fits(runner.model, *start)
    runner.register_hook(ResumeSettingsHook())
    runner.register_hook(ClassOrderHook(get_labels(*start), start[1]))
    return runner


def build_runner(cfg: Config) -> Runner:
    """Build the runner a config asks for, mmengine's own by default.

    Args:
        cfg: The config of a run.

    Returns:
        The runner.

    Raises:
        UserError: If the work dir cannot be made.
    """
    make_folder(Path(cfg.work_dir))
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def read_start(cfg: Config) -> tuple[dict[str, Any], str] | None:
    """Read the checkpoint a run starts from before it takes minutes to get there.

    Args:
        cfg: The config of a run.

    Returns:
        The checkpoint's content and its path; None if the run starts without one.

    Raises:
        UserError: If it cannot be read, is of a fused model, or cannot be resumed.
    """
    path, resume = cfg.get('load_from'), cfg.get('resume')
    if resume == AUTO or (resume and not path):
        start = find_start(cfg)
        if start:
            return start
        path, resume = cfg.get('load_from'), False
    if not path:
        # Some models have none, or one without a config.
        backbone = cfg.model.get('backbone')
        if backbone and not backbone.get('init_cfg'):
            print_log(
                'the backbone starts from random weights; --pretrained FILE starts it '
                'from trained ones',
                logger='current',
                level=logging.WARNING,
            )
        return None
    if resume:
        return read_run(path), path
    content = read_checkpoint(path)
    refuse_fused(content, path)
    return content, path
