"""What tools/train.py and tools/test.py leave, as far as a comparison reads it."""

import json
from pathlib import Path

from dev.folders import MARKER


def make_run(
    folder: Path,
    metrics: dict[str, float],
    iters: int,
    seconds: list[float] | None = None,
) -> None:
    """A training and its test, complete.

    Args:
        folder: That of the training.
        metrics: What the test measured.
        iters: The length of the training.
        seconds: What it logged. Defaults to nothing.
    """
    logs = folder / '20260101_000000' / 'vis_data'
    logs.mkdir(parents=True)
    records = [dict(loss=1.0, time=time) for time in seconds or ()]
    validation = dict(metrics, time=1000.0)
    lines = [json.dumps(record) for record in [*records, validation]]
    (logs / 'scalars.json').write_text('\n'.join(lines) + '\n')
    (folder / 'metrics.json').write_text(json.dumps(dict(iter=iters, metrics={})))
    checkpoint = folder / f'iter_{iters}.pth'
    checkpoint.touch()
    (folder / 'last_checkpoint').write_text(str(checkpoint))
    test = folder.with_name(f'{folder.name}_test')
    test.mkdir(exist_ok=True)
    for made in (folder, test):
        (made / MARKER).touch()
    (test / 'metrics.json').write_text(json.dumps(dict(metrics=metrics)))
