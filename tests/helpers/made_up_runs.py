"""What tools/train.py and tools/test.py leave, as far as a comparison reads it."""

import json
from pathlib import Path

from dev.folders import MARKER
from helpers.commands import REPO
from mmrapidnet.config.load import load_config


def own_length(config: str) -> int:
    """The iterations that a config says."""
    return load_config(str(REPO / 'configs' / config)).train_cfg.max_iters


def make_run(
    folder: Path,
    metrics: dict[str, float],
    iters: int,
    seconds: list[float] | None = None,
    validation: dict[str, float] | None = None,
    ious: dict[str, float] | None = None,
) -> None:
    """A training and its test, complete.

    Args:
        folder: That of the training.
        metrics: What the test measured.
        iters: The length of the training.
        seconds: What it logged. Defaults to nothing.
        validation: What the validation that ended it measured. Defaults to nothing.
        ious: What the test measured of each class. Defaults to nothing.
    """
    logs = folder / '20260101_000000' / 'vis_data'
    logs.mkdir(parents=True)
    records = [dict(loss=1.0, time=time) for time in seconds or ()]
    validated = dict(metrics, time=1000.0)
    lines = [json.dumps(record) for record in [*records, validated]]
    (logs / 'scalars.json').write_text('\n'.join(lines) + '\n')
    trained = dict(iter=iters, metrics=validation or {})
    (folder / 'metrics.json').write_text(json.dumps(trained))
    checkpoint = folder / f'iter_{iters}.pth'
    checkpoint.touch()
    (folder / 'last_checkpoint').write_text(str(checkpoint))
    test = folder.with_name(f'{folder.name}_test')
    test.mkdir(exist_ok=True)
    for made in (folder, test):
        (made / MARKER).touch()
    per_class = [{'class': name, 'IoU': iou} for name, iou in (ious or {}).items()]
    tested = dict(metrics=metrics, per_class=per_class)
    (test / 'metrics.json').write_text(json.dumps(tested))
