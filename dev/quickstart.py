"""The main job on an embedded data set: train, test and draw, in under twenty minutes.

Every step is a command that the user can type as well; it is printed before it runs.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dev.folders import check_renewable, renew_folder
from dev.model_zoo.contact_sheet import draw_contact_sheet
from dev.model_zoo.curves import draw_curves
from dev.shapes_jobs import MASKRCNN, SEMFPN, Job, Steps
from dev.subprocess_steps import print_now, relpath
from mmrapidnet.apis.cli import main_guard
from mmrapidnet.datasets.shapes import write_shapes

# The segmenter first: a label at every pixel teaches a backbone Shapes soonest.
JOBS = (SEMFPN, MASKRCNN)
DRAWN = 8


def quickstart(repo: Path, data_root: Path, out_dir: Path) -> None:
    """Write Shapes, train both models on it, test them, draw what they see.

    Args:
        repo: The repository, with ``configs/`` and ``tools/``.
        data_root: Where Shapes goes; kept if it is there.
        out_dir: Where runs and pictures go; an earlier quickstart there is replaced.

    Raises:
        UserError: If a step fails, naming its log, or ``out_dir`` holds what no
            quickstart made.
    """
    made = [*(f'{job.name}*' for job in JOBS), 'predictions*.png', 'curves_*.png']
    check_renewable(out_dir, made)
    print_now(f'[1/4] Shapes, a data set drawn on the spot, into {relpath(data_root)}')
    write_shapes(data_root, progress=True)
    renew_folder(out_dir, made)

    steps = Steps(repo, data_root, out_dir)
    table = Table(
        'model',
        'metric',
        'value',
        'minutes',
        'seconds per image',
        title='RapidNet-Ti on the held-out images of Shapes',
    )
    for number, job in enumerate(JOBS, start=2):
        print_now(f'[{number}/4] {job.title}')
        start = time.monotonic()
        _train(steps, job)
        minutes = (time.monotonic() - start) / 60
        record = steps.test(job)
        for label, (metric, unit) in job.metrics.items():
            value = record['metrics'][metric] / unit
            seconds = record['seconds_per_image']
            row = (f'{value:.3f}', f'{minutes:.1f}', f'{seconds:.3f}')
            table.add_row(job.title, label, *row)
    print_now(f'[4/4] pictures, into {relpath(out_dir)}')
    some = [picture for job in JOBS for picture in _draw(steps, job)[:2]]
    draw_contact_sheet(some, out_dir / 'predictions.png', width=300)
    Console().print(table)
    print_now(
        'predictions beside the ground truth: '
        + ', '.join(relpath(path) for path in sorted(out_dir.glob('predictions*.png')))
    )
    print_now(
        'curves: ' + ', '.join(map(relpath, sorted(out_dir.glob('curves_*.png'))))
    )


def _train(steps: Steps, job: Job) -> None:
    options = ['--fast']
    if job is MASKRCNN:  # from a backbone that knows Shapes already
        options += ['--pretrained', steps.last_checkpoint(SEMFPN)]
    steps.train(job, *options)


def _draw(steps: Steps, job: Job) -> list[Path]:
    """Draw the first held-out images and the curves; returns the former."""
    options = ('--cfg-options', f'test_dataloader.dataset.indices={DRAWN}')
    pictures = steps.draw(job, *options)
    draw_contact_sheet(pictures, steps.out_dir / f'predictions_{job.name}.png')
    draw_curves(
        steps.out_dir / job.name,
        [metric for metric, _ in job.metrics.values()],
        steps.out_dir / f'curves_{job.name}.png',
        f'{job.title}, RapidNet-Ti, on Shapes',
    )
    return pictures


REPO = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data-root', type=Path, default=REPO / 'data' / 'shapes')
    parser.add_argument('--out', type=Path, default=REPO / 'work_dirs' / 'quickstart')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    quickstart(REPO, args.data_root, args.out)


if __name__ == '__main__':
    main_guard(main)
