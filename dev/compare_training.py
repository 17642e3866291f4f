"""Train on Shapes with a teacher or with pre-training and without, in one table."""

import argparse
from pathlib import Path

from dev.comparison.runs import add_run_arguments
from dev.comparison.sam_distillation import compare_sam_distillation
from dev.comparison.training import (
    IMAGES,
    NOISE,
    SEEDS,
    Place,
    compare_distillation,
    compare_pretraining,
)
from dev.subprocess_steps import own_command
from mmrapidnet import compat
from mmrapidnet.apis.cli import main_guard

REPO = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'what',
        choices=['distillation', 'pretraining', 'sam-distillation'],
        help='distillation: a small classifier on noisy labels, with a teacher or '
        'without; pretraining: a segmenter, from the backbone of a classifier or from '
        'scratch; sam-distillation: an encoder that segments anything, which learns '
        'the embeddings of a teacher or from prompts alone',
    )
    parser.add_argument(
        '--cls-root',
        type=Path,
        default=REPO / 'data' / 'shapes_cls',
        help='Shapes in the layout imagenet; written there if nothing is',
    )
    parser.add_argument(
        '--dense-root',
        type=Path,
        default=REPO / 'data' / 'shapes',
        help='Shapes in the layout dense, for all but distillation; written there if '
        'nothing is',
    )
    parser.add_argument(
        '--noise',
        type=float,
        default=NOISE,
        help='distillation: share of the training labels that are wrong '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--images',
        type=int,
        default=IMAGES,
        help='pretraining: how many scenes to train on (default: %(default)s)',
    )
    parser.add_argument(
        '--teacher',
        type=Path,
        help='sam-distillation: a checkpoint of sam_repvit_m0_6_shapes.py '
        '(default: one is trained before)',
    )
    add_run_arguments(parser, REPO / 'work_dirs' / 'training', SEEDS)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    compat.apply()
    place = Place(REPO, args.cls_root, args.dense_root, args.out)
    command = own_command('dev.compare_training')
    common = dict(seeds=args.seeds, iters=args.iters, command=command)
    if args.what == 'distillation':
        compare_distillation(place, noise=args.noise, **common)
    elif args.what == 'sam-distillation':
        compare_sam_distillation(place, teacher=args.teacher, **common)
    else:
        compare_pretraining(place, images=args.images, **common)


if __name__ == '__main__':
    main_guard(main)
