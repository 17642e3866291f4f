"""Loss and metric curves of a run, from the scalars mmengine keeps of it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from mmrapidnet.utils.errors import UserError

Series = dict[str, tuple[list[int], list[float]]]


def read_scalars(work_dir: str | Path) -> Series:
    """Read the scalars of the newest run in a work dir.

    Args:
        work_dir: The folder of a run.

    Returns:
        Name of a scalar to its steps and its values.

    Raises:
        UserError: If there is no run.
    """
    files = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    if not files:
        raise UserError(f'{work_dir} holds no run: */vis_data/scalars.json is missing')
    series: Series = defaultdict(lambda: ([], []))
    for line in files[-1].read_text().splitlines():
        record = json.loads(line)
        step = record.get('step')
        for name, value in record.items():
            if name != 'step' and isinstance(value, (int, float)):
                series[name][0].append(step)
                series[name][1].append(value)
    return dict(series)


def draw_curves(
    work_dir: str | Path, metrics: Sequence[str], out: str | Path, title: str
) -> None:
    """Draw the training loss and some validation metrics over the iterations.

    Args:
        work_dir: The folder of a run.
        metrics: Names of validation metrics, such as 'coco/segm_mAP'.
        out: The picture to write.
        title: Its title.

    Raises:
        UserError: If there is no run, or it logged none of these.
    """
    from matplotlib.figure import Figure

    series = read_scalars(work_dir)
    missing = [name for name in ('loss', *metrics) if name not in series]
    if missing:
        raise UserError(f'the run in {work_dir} logged no {", ".join(missing)}')
    figure = Figure(figsize=(9, 3.5), layout='constrained')
    figure.suptitle(title)
    loss, metric = figure.subplots(1, 2)
    loss.plot(*series['loss'])
    loss.set(xlabel='iteration', ylabel='training loss')
    for name in metrics:
        metric.plot(*series[name], marker='o', label=name)
    metric.set(xlabel='iteration', ylabel='held-out images', ylim=(0, None))
    metric.legend()
    for axes in (loss, metric):
        axes.grid(alpha=0.3)
    figure.savefig(out, dpi=100)
