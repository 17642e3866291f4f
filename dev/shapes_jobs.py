"""The small models that learn Shapes, and the steps that train, test and draw them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from dev.subprocess_steps import last_checkpoint, run_tool


@dataclass(frozen=True)
class Job:
    """A model to train and test.

    Attributes:
        name: Folder of the run.
        title: What it is called in the output.
        config: The config's name in ``configs/``.
        data: Folder of the data set below the root.
        metrics: Label in the output to name of the metric, and what to divide by.
    """

    name: str
    title: str
    config: str
    data: str
    metrics: dict[str, tuple[str, float]]


MASKRCNN = Job(
    name='maskrcnn',
    title='Mask R-CNN',
    config='maskrcnn_rapidnet_ti_shapes.py',
    data='coco',
    metrics={
        'mask mAP': ('coco/segm_mAP', 1.0),
        'box mAP': ('coco/bbox_mAP', 1.0),
    },
)
SEMFPN = Job(
    name='semfpn',
    title='Semantic FPN',
    config='semfpn_rapidnet_ti_shapes.py',
    data='ade',
    metrics={'mIoU': ('mIoU', 100.0)},
)


@dataclass(frozen=True)
class Steps:
    """The steps of a job, each a run of one of the tools.

    Attributes:
        repo: The repository, with ``configs/`` and ``tools/``.
        data_root: Where Shapes is.
        out_dir: Where the runs and their logs go.
    """

    repo: Path
    data_root: Path
    out_dir: Path

    def train(self, job: Job, *options: str | Path) -> None:
        """Train, with more options of the tool."""
        self._run_tool('train.py', job, job.name, *options)

    def test(self, job: Job, *options: str | Path) -> dict:
        """Test the last checkpoint; returns what ``metrics.json`` says."""
        run = f'{job.name}_test'
        self._run_tool('test.py', job, run, self.last_checkpoint(job), *options)
        return json.loads((self.out_dir / run / 'metrics.json').read_text())

    def draw(self, job: Job, *options: str | Path) -> list[Path]:
        """Draw the tested images, predictions beside the ground truth."""
        run = f'{job.name}_pictures'
        drawn = self.out_dir / run / 'drawn'
        options = (self.last_checkpoint(job), '--show-dir', drawn, *options)
        self._run_tool('test.py', job, run, *options)
        return sorted([*drawn.rglob('*.jpg'), *drawn.rglob('*.png')])

    def last_checkpoint(self, job: Job) -> Path:
        """The last checkpoint of a job's training."""
        return last_checkpoint(self.out_dir / job.name)

    def _run_tool(self, tool: str, job: Job, run: str, *arguments: str | Path) -> None:
        command = [
            self.repo / 'configs' / job.config,
            '--data-root',
            self.data_root / job.data,
            '--work-dir',
            self.out_dir / run,
            *arguments,
        ]
        run_tool(self.repo / 'tools' / tool, command, self.out_dir / f'{run}.log')
