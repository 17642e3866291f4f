"""What a teacher, and what pre-training, is worth on Shapes.

Both start from the same classifier, RapidNet-Ti trained on clean labels of the single
objects of Shapes: it teaches a small student whose labels are noisy, and its backbone
starts a segmenter that sees few scenes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.comparison.label_noise import write_noisy_labels
from dev.comparison.pairs import Pairs, check_seeds, compare_pairs
from dev.comparison.runs import Run, check_iters, train_and_test
from dev.comparison.spread import Gain
from dev.subprocess_steps import print_now, relpath
from mmrapidnet.datasets.shapes import write_shapes, write_shapes_cls
from mmrapidnet.utils.errors import UserError
from mmrapidnet.utils.folders import make_folder

CLASSIFIER = 'rapidnet_ti_shapescls.py'
STUDENT = 'rapidnet_slim_shapescls.py'
SEGMENTER = 'semfpn_rapidnet_ti_shapes.py'
SEEDS = (0, 1, 2, 3, 4)
NOISE = 0.5
IMAGES = 100
SEGMENTER_ITERS = 160
TOP1 = 'accuracy/top1'


@dataclass(frozen=True)
class Place:
    """Where a comparison finds and leaves its files.

    Attributes:
        repo: The repository, with ``configs/`` and ``tools/``.
        cls_root: Where the single objects of Shapes are, or go if nothing is there.
        dense_root: The same of its scenes.
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
    check_seeds(seeds)
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
    return compare_pairs(pairs, place.repo, path, command, record)


def compare_pretraining(
    place: Place,
    seeds: Sequence[int] = SEEDS,
    images: int = IMAGES,
    iters: int | None = None,
    command: str = '',
) -> Gain:
    """Train a segmenter from the classifier's backbone and from scratch.

    Args:
        place: Where things are.
        seeds: Of weights, order and augmentation; at least two.  Defaults to 0 to 4.
        images: How many scenes to train on.  Defaults to 100.
        iters: Iterations of every training.  Defaults to the classifier's own and 160
            for the segmenters.
        command: The command to name in the table.

    Returns:
        What the pre-training brings, in percent of mIoU on the held-out images.

    Raises:
        UserError: If an argument does not fit, a step fails, or ``out_dir`` holds runs
            of another length.
    """
    check_seeds(seeds)
    check_iters(iters)
    if images < 1:
        raise UserError(f'--images {images}: give at least 1')
    classifier = _train_classifier(place, iters)
    write_scenes(place)

    def segmenter(name: str, seed: int, *arguments: str | Path, **options: Path) -> Run:
        return Run(
            config=place.config(SEGMENTER),
            data_root=place.dense_root / 'ade',
            folder=place.out_dir / f'segmenter_{images}images_{name}_seed{seed}',
            seed=seed,
            iters=iters or SEGMENTER_ITERS,
            arguments=arguments,
            settings=(f'train_dataloader.dataset.indices={images}',),
            **options,
        )

    weights = classifier.checkpoint
    start = ('--pretrained', weights)
    pairs = Pairs(
        title=f'mIoU, %, of Semantic FPN on {images} scenes',
        metric='mIoU',
        ways=('pre-trained', 'from scratch'),
        runs={
            seed: (
                segmenter('pretrained', seed, *start, learns_from=weights),
                segmenter('scratch', seed),
            )
            for seed in seeds
        },
        note=(
            'The backbone, RapidNet-Ti, starts from the classifier of single objects '
            'or from random weights.'
        ),
    )
    path = place.out_dir / f'pretraining_{images}images'
    return compare_pairs(pairs, place.repo, path, command, dict(images=images))


def write_scenes(place: Place) -> None:
    """Write the scenes of Shapes, unless they are there already."""
    if not place.dense_root.exists():
        print_now(
            f'Shapes, a data set drawn on the spot, into {relpath(place.dense_root)}'
        )
        write_shapes(place.dense_root, progress=True)


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
