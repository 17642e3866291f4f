"""The main job on an embedded data set: train, test and draw, in twenty minutes.

Every step is a command that the user can type as well; it is printed before it runs.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dev.model_zoo.contact_sheet import draw_contact_sheet
from dev.model_zoo.curves import draw_curves
from dev.subprocess_steps import last_checkpoint, run_tool, say, shown
from mmrapidnet.apis.cli import main_guard
from mmrapidnet.datasets.shapes import write_shapes
from mmrapidnet.utils.folders import check_renewable, renew_folder

DRAWN = 8


@dataclass(frozen=True)
class Job:
    """A model to train and test.

    Attributes:
        name: Folder of the run.
        title: What it is called in the output.
        config: The config's name in ``configs/``.
        data: Folder of the data set below the root.
        metrics: Label in the table to name of the metric, and what to divide by.
        start_from: The job whose backbone this one starts from, if any.
    """

    name: str
    title: str
    config: str
    data: str
    metrics: dict[str, tuple[str, float]]
    start_from: str | None = None


JOBS = (
    Job(
        name='maskrcnn',
        title='Mask R-CNN',
        config='maskrcnn_rapidnet_ti_shapes.py',
        data='coco',
        metrics={
            'mask mAP': ('coco/segm_mAP', 1.0),
            'box mAP': ('coco/bbox_mAP', 1.0),
        },
    ),
    Job(
        name='semfpn',
        title='Semantic FPN',
        config='semfpn_rapidnet_ti_shapes.py',
        data='ade',
        metrics={'mIoU': ('mIoU', 100.0)},
        start_from='maskrcnn',
    ),
)


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
    say(f'[1/4] Shapes, a data set drawn on the spot, into {shown(data_root)}')
    write_shapes(data_root, progress=True)
    renew_folder(out_dir, made)

    steps = _Steps(repo, data_root, out_dir)
    table = Table(
        'model',
        'metric',
        'value',
        'minutes',
        'seconds per image',
        title='RapidNet-Ti on the held-out images of Shapes',
    )
    for number, job in enumerate(JOBS, start=2):
        say(f'[{number}/4] {job.title}')
        start = time.monotonic()
        steps.train(job)
        minutes = (time.monotonic() - start) / 60
        record = steps.test(job)
        for label, (metric, unit) in job.metrics.items():
            value = record['metrics'][metric] / unit
            seconds = record['seconds_per_image']
            row = (f'{value:.3f}', f'{minutes:.1f}', f'{seconds:.3f}')
            table.add_row(job.title, label, *row)
    say(f'[4/4] pictures, into {shown(out_dir)}')
    some = [picture for job in JOBS for picture in steps.draw(job)[:2]]
    draw_contact_sheet(some, out_dir / 'predictions.png', width=300)
    Console().print(table)
    say(
        'predictions beside the ground truth: '
        + ', '.join(shown(path) for path in sorted(out_dir.glob('predictions*.png')))
    )
    say('curves: ' + ', '.join(map(shown, sorted(out_dir.glob('curves_*.png')))))


@dataclass(frozen=True)
class _Steps:
    """The steps of a job, each a run of one of the tools."""

    repo: Path
    data_root: Path
    out_dir: Path

    def train(self, job: Job) -> None:
        options = []
        if job.start_from:
            options = ['--pretrained', self.last_checkpoint(job.start_from)]
        self.run_tool('train.py', job, job.name, *options)

    def test(self, job: Job) -> dict:
        run = f'{job.name}_test'
        self.run_tool('test.py', job, run, self.last_checkpoint(job.name))
        return json.loads((self.out_dir / run / 'metrics.json').read_text())

    def draw(self, job: Job) -> list[Path]:
        """Draw the first held-out images and the curves; returns the former."""
        run = f'{job.name}_pictures'
        drawn = self.out_dir / run / 'drawn'
        options = ['--show-dir', drawn]
        options += ['--cfg-options', f'test_dataloader.dataset.indices={DRAWN}']
        self.run_tool('test.py', job, run, self.last_checkpoint(job.name), *options)
        pictures = sorted([*drawn.rglob('*.jpg'), *drawn.rglob('*.png')])
        draw_contact_sheet(pictures, self.out_dir / f'predictions_{job.name}.png')
        draw_curves(
            self.out_dir / job.name,
            [metric for metric, _ in job.metrics.values()],
            self.out_dir / f'curves_{job.name}.png',
            f'{job.title}, RapidNet-Ti, on Shapes',
        )
        return pictures

    def last_checkpoint(self, run: str) -> Path:
        return last_checkpoint(self.out_dir / run)

    def run_tool(self, tool: str, job: Job, run: str, *arguments: str | Path) -> None:
        command = [
            self.repo / 'configs' / job.config,
            '--data-root',
            self.data_root / job.data,
            '--work-dir',
            self.out_dir / run,
            *arguments,
        ]
        run_tool(self.repo / 'tools' / tool, command, self.out_dir / f'{run}.log')


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
