"""Train a model from a config."""

from __future__ import annotations

import logging

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmrapidnet.engine.dataset_check import check_datasets
from mmrapidnet.engine.libraries import require_library
from mmrapidnet.engine.report import report_metrics


def train(cfg: Config) -> dict[str, float]:
    """Train as the config says and report the metrics of the last validation.

    Args:
        cfg: The config of a run.

    Returns:
        The metrics of the last validation; empty if there was none.

    Raises:
        UserError: If a data set or checkpoint is missing or damaged.
    """
    require_library(cfg)
    check_datasets(cfg, ['train_dataloader', 'val_dataloader'])
    check_start(cfg)
    runner = build_runner(cfg)
    runner.train()

    metrics = {
        name.removeprefix('val/'): history.current()
        for name, history in runner.message_hub.log_scalars.items()
        if name.startswith('val/') and name not in ('val/time', 'val/data_time')
    }
    report_metrics(
        metrics, cfg.work_dir, 'last validation', config=cfg.filename, iter=runner.iter
    )
    return metrics


def build_runner(cfg: Config) -> Runner:
    """Build the runner a config asks for, mmengine's own by default.

    Args:
        cfg: The config of a run.

    Returns:
        The runner.
    """
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def check_start(cfg: Config) -> None:
    """Look at the weights a run starts from before it takes minutes to get there.

    Args:
        cfg: The config of a run.

    Raises:
        UserError: If the checkpoint to start from or resume cannot be read.
    """
    from mmrapidnet.compat.checkpoint import load

    if cfg.get('load_from'):
        load(cfg.load_from)
    elif not cfg.get('resume') and not cfg.model.backbone.get('init_cfg'):
        print_log(
            'the backbone starts from random weights; --pretrained FILE starts it '
            'from trained ones',
            logger='current',
            level=logging.WARNING,
        )
