"""What pre-training on 50 classes of Tiny-ImageNet is worth to a segmenter of CamVid.

RapidNet-Ti starts from random weights, from a classifier that learnt from the labels
alone, and from one that a teacher taught as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dev.comparison.data_sets import CAMVID, check_there
from dev.comparison.pairs import Pairs, report_pairs, run_pairs
from dev.comparison.runs import (
    Run,
    check_distinct,
    check_iters,
    length_of,
    train_and_test,
)
from dev.comparison.spread import Gain
from dev.comparison.training import TOP1, Place
from dev.subprocess_steps import print_now
from mmrapidnet.checkpoints.state_dict import read_checkpoint
from mmrapidnet.config.load import load_config
from mmrapidnet.utils.folders import make_folder

# What a classifier learns from, and its config.
CLASSIFIERS = {
    'labels': 'rapidnet_ti_tinyimagenet.py',
    'distillation': 'rapidnet_ti_tinyimagenet_distill.py',
}
SEGMENTER = CAMVID.config('rapidnet_ti')
SEEDS = CAMVID.seeds
SPLITS = {'test': 'Test', 'val': 'Validation'}
NO_TEACHER = (
    'Without the file of a teacher (--teacher) the start from distillation is left out.'
)


def compare_pretraining(
    place: Place,
    seeds: Sequence[int] = SEEDS,
    teacher: Path | None = None,
    iters: int | None = None,
    cls_iters: int | None = None,
    command: str = '',
) -> dict[str, list[Gain]]:
    """Train a segmenter from pre-trained backbones and from scratch, equally long.

    The classifiers are trained before, once for all seeds and lengths.

    Args:
        place: Where things are: Tiny-ImageNet's 50 classes and CamVid.
        seeds: Of weights, order and augmentation of the segmenters.  Defaults to 0 to
            2; of a single one there is no t-test.
        teacher: The teacher's weights.  Defaults to None: nothing is distilled.
        iters: Iterations of a segmenter.  Defaults to its config's own.
        cls_iters: Iterations of a classifier.  Defaults to its config's own.
        command: The command to name in the tables.

    Returns:
        For 'test' and 'val' what each pre-training brings, in percent of mIoU.

    Raises:
        UserError: If an argument does not fit, a step fails, or ``place.out_dir``
            holds runs of another length.
    """
    check_distinct('--seeds', seeds, 1)
    check_iters(iters)
    check_iters(cls_iters, '--cls-iters')
    check_there('--cls-root', place.cls_root)
    check_there('--dense-root', place.dense_root)
    if teacher:
        read_checkpoint(str(teacher))
    make_folder(place.out_dir)

    classifiers = _list_classifiers(place, teacher, cls_iters)
    for name, run in classifiers.items():
        print_now(f'RapidNet-Ti on Tiny-ImageNet: {name}')
        train_and_test(run, place.repo)
    top1 = {name: run.metrics()[TOP1] for name, run in classifiers.items()}
    config = place.config(SEGMENTER)
    length = iters or load_config(str(config)).train_cfg.max_iters

    def segmenter(name: str, seed: int) -> Run:
        start = classifiers[name].checkpoint if name in classifiers else None
        return Run(
            config=config,
            data_root=place.dense_root,
            # A run of another length is another run: the classifiers serve both.
            folder=place.out_dir / f'segmenter_{length}iters_{name}_seed{seed}',
            seed=seed,
            iters=iters,
            arguments=CAMVID.arguments,
            pretrained=start,
        )

    ways = (*classifiers, 'scratch')
    pairs = Pairs(
        title='',
        metric='mIoU',
        ways=ways,
        runs={seed: tuple(segmenter(way, seed) for way in ways) for seed in seeds},
        note=_describe(classifiers, top1),
    )
    run_pairs(pairs, place.repo)
    return {
        split: report_pairs(
            replace(
                pairs,
                title=f'{word} mIoU, %, of Semantic FPN RapidNet-Ti on CamVid',
                split=split,
            ),
            place.out_dir / f'pretraining_{length}iters_{split}',
            command,
            dict(top1=top1, teacher=teacher and str(teacher)),
        )
        for split, word in SPLITS.items()
    }


def _list_classifiers(
    place: Place, teacher: Path | None, iters: int | None
) -> dict[str, Run]:
    """The pre-trainings, by what the classifiers learn from."""
    options = dict(labels={})
    if teacher:
        taught = (f'model.teacher.checkpoint={teacher}',)
        options['distillation'] = dict(settings=taught, learns_from=teacher)
    return {
        name: Run(
            config=place.config(CLASSIFIERS[name]),
            data_root=place.cls_root,
            folder=place.out_dir / f'classifier_{name}',
            seed=0,
            iters=iters,
            arguments=CAMVID.arguments,
            **of_run,
        )
        for name, of_run in options.items()
    }


def _describe(classifiers: dict[str, Run], top1: dict[str, float]) -> str:
    reached = ' and '.join(
        f'{top1[name]:.2f} % from {name} ({length_of(run)} iterations)'
        for name, run in classifiers.items()
    )
    said = (
        'The backbone starts from random weights, or from a classifier of 50 classes '
        f'of Tiny-ImageNet, whose top-1 on the validation images is {reached}.'
    )
    return said if 'distillation' in classifiers else f'{said} {NO_TEACHER}'
