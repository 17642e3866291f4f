"""Test a checkpoint with the config's own metrics."""

from __future__ import annotations

from mmengine.config import Config
from mmengine.model import is_model_wrapper

from mmrapidnet.checkpoints.pretrained import check_account, read_state_dict
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
    state = read_state_dict(checkpoint)
    cfg.load_from = checkpoint
    cfg.resume = False
    runner = build_runner(cfg)

    # mmengine loads what fits and only logs what does not.
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if 'tta_model' in cfg and cfg.model.type == cfg.tta_model.type:
        model = model.module
    check_account(state, model.state_dict(), '', type(model).__name__, checkpoint)

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
