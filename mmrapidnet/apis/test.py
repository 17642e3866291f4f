"""Test a checkpoint or an exported file with the config's own metrics."""

from __future__ import annotations

from mmengine.config import Config
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mmrapidnet.apis.report import report_metrics
from mmrapidnet.apis.train import build_runner
from mmrapidnet.checkpoints.dataset_meta import get_labels
from mmrapidnet.checkpoints.fused import is_fused_checkpoint
from mmrapidnet.checkpoints.state_dict import check_fits, read_checkpoint
from mmrapidnet.config.libraries import require_library
from mmrapidnet.config.load import check_work_dir
from mmrapidnet.config.panoptic import require_panopticapi
from mmrapidnet.datasets.check.precheck import check_datasets
from mmrapidnet.deploy import fuse
from mmrapidnet.deploy.formats import format_of
from mmrapidnet.engine.confusion import (
    count_confusion,
    find_confusion,
    list_class_figures,
)
from mmrapidnet.engine.confusion_files import write_confusion
from mmrapidnet.engine.dist import naming_lost_ranks
from mmrapidnet.engine.hooks.class_order import ClassOrderHook
from mmrapidnet.utils.errors import UserError


def test(
    cfg: Config, checkpoint: str, fused: bool = False, confusion_matrix: bool = False
) -> dict[str, float]:
    """Test a checkpoint, or a file exported from one, and report its metrics.

    Args:
        cfg: The config the checkpoint was trained with.
        checkpoint: Path or URL of the checkpoint, or path of the exported file.
        fused: Whether to fuse the model first, see `mmrapidnet.deploy.fuse`; that of
            a fused checkpoint is fused in any case. Defaults to False.
        confusion_matrix: Whether to write which class was taken for which into the
            work dir, too. Defaults to False.

    Returns:
        The metrics.

    Raises:
        UserError: If a data set is missing or cannot be read, or the checkpoint or
            file is missing, damaged or of another model, an exported file is to be
            fused, another process of the job is lost, or the model has no confusion
            matrix.
    """
    require_library(cfg)
    check_work_dir(cfg)
    require_panopticapi(cfg, ['test_dataloader'])
    check_datasets(cfg, ['test_dataloader'])
    if not count_confusion(cfg, 'test_evaluator') and confusion_matrix:
        raise UserError(
            '--confusion-matrix is for segmenters (IoUMetric) and classifiers of one '
            'label (Accuracy, SingleLabelMetric) on one data set: test_evaluator has '
            "none of these; of a detector mmdet's own tools/analysis_tools/"
            'confusion_matrix.py draws it from the file of --out'
        )
    with naming_lost_ranks():
        runner = build_test_runner(cfg, checkpoint, fused)
        metrics = runner.test()

    seconds = runner.message_hub.get_scalar('test/time').mean()
    confusion = find_confusion(runner.test_loop.evaluator)
    report_metrics(
        metrics,
        cfg.work_dir,
        'test',
        list_class_figures(confusion) if confusion else None,
        config=cfg.filename,
        checkpoint=checkpoint,
        seconds_per_image=seconds / cfg.test_dataloader.batch_size,
    )
    if confusion_matrix and confusion:
        write_confusion(confusion, cfg.work_dir)
    return metrics


def build_test_runner(cfg: Config, checkpoint: str, fused: bool = False) -> Runner:
    """Build the runner that tests a checkpoint, or a file exported from one.

    Args:
        cfg: The config the checkpoint was trained with; changed in place.
        checkpoint: Path or URL of the checkpoint, or path of the exported file.
        fused: Whether to fuse the model first. Defaults to False.

    Returns:
        The runner.

    Raises:
        UserError: If the checkpoint or file is missing, damaged or of another model,
            or an exported file is to be fused.
    """
    _leave_out_averaging(cfg)
    prepare = _prepare_exported if format_of(checkpoint) else _prepare
    return prepare(cfg, checkpoint, fused)


def _leave_out_averaging(cfg: Config) -> None:
    """Drop the hooks of moving averages: a checkpoint's weights are the average."""
    hooks = cfg.get('custom_hooks') or []
    cfg.custom_hooks = [hook for hook in hooks if 'EMAHook' not in str(hook['type'])]


def _prepare(cfg: Config, checkpoint: str, fused: bool) -> Runner:
    content = read_checkpoint(checkpoint)
    cfg.load_from = checkpoint
    cfg.resume = False
    runner = build_runner(cfg)
    if is_fused_checkpoint(content):
        runner.model = _fuse(runner.model)
    check_fits(_tested_model(runner.model), content, checkpoint)
    labels = get_labels(content, checkpoint)
    runner.register_hook(ClassOrderHook(labels, checkpoint))
    if fused:
        runner.load_checkpoint(checkpoint)
        runner.model = _fuse(runner.model)
    return runner


def _prepare_exported(cfg: Config, path: str, fused: bool) -> Runner:
    from mmrapidnet.deploy.adapters import use_exported

    if fused:
        raise UserError(f'--fuse: {path} is an exported file, which is fused already')
    use_exported(cfg, path)
    runner = build_runner(cfg)
    runner.register_hook(ClassOrderHook(runner.model.dataset_meta, path))
    return runner


def _is_wrapper(model: nn.Module) -> bool:
    """Whether it is of test-time augmentation or data-parallel."""
    return is_model_wrapper(model) or isinstance(model, BaseTTAModel)


def _tested_model(model: nn.Module) -> nn.Module:
    """The model itself, below its wrappers."""
    return _tested_model(model.module) if _is_wrapper(model) else model


def _fuse(model: nn.Module) -> nn.Module:
    """Put the fused model in the place of the model, below its wrappers."""
    if not _is_wrapper(model):
        return fuse(model.eval())
    model.module = _fuse(model.module)
    return model
