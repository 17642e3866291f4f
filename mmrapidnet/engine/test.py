"""Test a checkpoint with the config's own metrics."""

from __future__ import annotations

from mmengine.config import Config
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn

from mmrapidnet.checkpoints.pretrained import check_fits, read_checkpoint
from mmrapidnet.engine.dataset_check import check_datasets
from mmrapidnet.engine.libraries import require_library
from mmrapidnet.engine.report import report_metrics
from mmrapidnet.engine.train import build_runner


def test(cfg: Config, checkpoint: str) -> dict[str, float]:
    """Test a checkpoint and report its metrics.

    Args:
        cfg: The config the checkpoint was trained with.
        checkpoint: Path or URL of the checkpoint.

    Returns:
        The metrics.

    Raises:
        UserError: If a data set is missing, or the checkpoint is missing, damaged
            or of another model.
    """
    require_library(cfg)
    check_datasets(cfg, ['test_dataloader'])
    content = read_checkpoint(checkpoint)
    cfg.load_from = checkpoint
    cfg.resume = False
    runner = build_runner(cfg)
    check_fits(_tested_model(runner.model), content, checkpoint)

    metrics = runner.test()
    seconds = runner.message_hub.get_scalar('test/time').mean()
    report_metrics(
        metrics,
        cfg.work_dir,
        'test',
        config=cfg.filename,
        checkpoint=checkpoint,
        seconds_per_image=seconds / cfg.test_dataloader.batch_size,
    )
    return metrics


def _tested_model(model: nn.Module) -> nn.Module:
    """The model itself, below test-time augmentation and data-parallel wrappers."""
    model = model.module if is_model_wrapper(model) else model
    return model.module if isinstance(model, BaseTTAModel) else model
