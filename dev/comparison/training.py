"""What a teacher is worth on Shapes, to a small student whose labels are noisy.

The teacher is RapidNet-Ti, trained on clean labels of the single objects of Shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.comparison.label_noise import write_noisy_labels
from dev.comparison.pairs import Pairs, compare_pairs
from dev.comparison.runs import Run, check_distinct, check_iters, train_and_test
from dev.comparison.spread import Gain
from dev.subprocess_steps import print_now, relpath
from mmrapidnet.datasets.shapes import write_shapes_cls
from mmrapidnet.utils.errors import UserError
from mmrapidnet.utils.folders import make_folder

CLASSIFIER = 'rapidnet_ti_shapescls.py'
STUDENT = 'rapidnet_slim_shapescls.py'
SEEDS = (0, 1, 2, 3, 4)
NOISE = 0.5
TOP1 = 'accuracy/top1'


@dataclass(frozen=True)
class Place:
    """Where a comparison finds and leaves its files.

    Attributes:
        repo: The repository, with ``configs/`` and ``tools/``.
        cls_root: Where the images to classify are.  Shapes is written there if nothing
            is.
        dense_root: The same of the images to segment.
        out_dir: Where runs and tables go.
    """

    repo: Path
    cls_root: Path
    dense_root: Path
    out_dir: Path

    def config(self, name: str) -> Path:
        """The path of a config."""
        return self.repo / 'configs' / name


def compare_distillation(
    place: Place,
    seeds: Sequence[int] = SEEDS,
    noise: float = NOISE,
    iters: int | None = None,
    command: str = '',
) -> Gain:
    """Train a student on noisy labels with a teacher and without.

    Args:
        place: Where things are.
        seeds: Of weights, order, augmentation and noise; at least two.  Defaults to 0
            to 4.
        noise: Share of the training labels that are wrong.  Defaults to 0.5.
        iters: Iterations of every training.  Defaults to the configs' own.
        command: The command to name in the table.

    Returns:
        What the teacher brings, in percent of the held-out images.

    Raises:
        UserError: If an argument does not fit, a step fails, or ``out_dir`` holds runs
            of another length.
    """
    check_distinct('--seeds', seeds, 2)
    check_iters(iters)
    if not 0 <= noise < 1:
        raise UserError(
            f'--noise {noise}: give a share of the labels, from 0 to below 1'
        )
    teacher = _train_classifier(place, iters)
    percent = f'{100 * noise:g}'
    level = f'noise{percent}'

    def student(name: str, seed: int, *settings: str, **options: Path) -> Run:
        labels = (place.out_dir / f'labels_{level}_seed{seed}.txt').resolve()
        write_noisy_labels(place.cls_root / 'train', labels, noise, seed)
        return Run(
            config=place.config(STUDENT),
            data_root=place.cls_root,
            folder=place.out_dir / f'student_{level}_{name}_seed{seed}',
            seed=seed,
            iters=iters,
            settings=(f'train_dataloader.dataset.ann_file={labels}', *settings),
            **options,
        )

    weights = teacher.checkpoint
    taught, alone = (
        f'model.teacher.checkpoint={weights}',
        'model.head.distillation=none',
    )
    top1 = teacher.metrics()[TOP1]
    pairs = Pairs(
        title=f'Top-1, %, of a student, {percent} % wrong labels',
        metric=TOP1,
        ways=('with a teacher', 'without'),
        runs={
            seed: (
                student('taught', seed, taught, learns_from=weights),
                student('alone', seed, alone),
            )
            for seed in seeds
        },
        note=(
            'The wrong labels are drawn anew for each seed. The teacher, RapidNet-Ti '
            f'trained on clean labels, reaches {top1:.2f} %.'
        ),
    )
    path = place.out_dir / f'distillation_{level}'
    record = dict(noise=noise, teacher_top1=top1)
    (gain,) = compare_pairs(pairs, place.repo, path, command, record)
    return gain


def _train_classifier(place: Place, iters: int | None) -> Run:
    """Train RapidNet-Ti on clean labels, unless it is there already."""
    if not place.cls_root.exists():
        print_now(
            f'Shapes, single objects drawn on the spot, into {relpath(place.cls_root)}'
        )
        write_shapes_cls(place.cls_root, progress=True)
    make_folder(place.out_dir)
    print_now('RapidNet-Ti on clean labels')
    run = Run(
        config=place.config(CLASSIFIER),
        data_root=place.cls_root,
        folder=place.out_dir / 'classifier',
        seed=0,
        iters=iters,
    )
    train_and_test(run, place.repo)
    return run
