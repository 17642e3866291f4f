"""The metrics of an evaluator, however a config writes them."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config


def list_metrics(evaluator: Any) -> list[Any]:
    """List the metrics of an evaluator.

    Args:
        evaluator: The config of a metric, a list of them, or that of an evaluator with
            ``metrics``; None for none.

    Returns:
        The configs of the metrics.
    """
    if isinstance(evaluator, dict) and 'metrics' in evaluator:
        evaluator = evaluator['metrics']
    if isinstance(evaluator, (list, tuple)):
        return list(evaluator)
    return [] if evaluator is None else [evaluator]


def add_metric(cfg: Config, name: str, metric: dict[str, Any]) -> None:
    """Let an evaluator have one more metric.

    Args:
        cfg: The config of a run, changed in place.
        name: 'val_evaluator' or 'test_evaluator'; not one that evaluates data sets
            apart, see `evaluates_apart`.
        metric: The config of the metric.
    """
    evaluator = cfg.get(name)
    metrics = [*list_metrics(evaluator), metric]
    if isinstance(evaluator, dict) and 'metrics' in evaluator:
        evaluator['metrics'] = metrics
    else:
        cfg[name] = metrics


def evaluates_apart(evaluator: Any) -> bool:
    """Tell whether each metric is of a data set of its own (mmdet's for several).

    Args:
        evaluator: The config of an evaluator.
    """
    return isinstance(evaluator, dict) and 'dataset_prefixes' in evaluator
