"""Train with a teacher or with pre-training and without, in one table."""

import argparse
from pathlib import Path

from dev.comparison.pretraining import compare_pretraining
from dev.comparison.runs import add_run_arguments
from dev.comparison.sam_distillation import compare_sam_distillation
from dev.comparison.training import NOISE, Place, compare_distillation
from dev.subprocess_steps import own_command
from mmrapidnet import compat
from mmrapidnet.apis.cli import main_guard

REPO = Path(__file__).resolve().parents[1]
# The images to classify and those to segment, in data/.
SHAPES = ('shapes_cls', 'shapes')
REAL = ('tiny_imagenet50', 'camvid')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'what',
        choices=['distillation', 'pretraining', 'sam-distillation'],
        help='distillation: a small classifier on noisy labels of Shapes, with a '
        'teacher or without; pretraining: a segmenter of CamVid, from the backbones of '
        'classifiers of Tiny-ImageNet or from scratch; sam-distillation: an encoder '
        'that segments anything on Shapes, which learns the embeddings of a teacher or '
        'from prompts alone',
    )
    parser.add_argument(
        '--cls-root',
        type=Path,
        help='the images to classify (default: data/shapes_cls, written there if '
        'nothing is; for pretraining data/tiny_imagenet50)',
    )
    parser.add_argument(
        '--dense-root',
        type=Path,
        help='the images to segment (default: data/shapes, written there if nothing '
        'is; for pretraining data/camvid)',
    )
    parser.add_argument(
        '--noise',
        type=float,
        default=NOISE,
        help='distillation: share of the training labels that are wrong '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--teacher',
        type=Path,
        help='sam-distillation: a checkpoint of sam_repvit_m0_6_shapes.py (default: '
        'one is trained before); pretraining: the weights of the classifier that '
        'teaches (default: nothing is distilled)',
    )
    parser.add_argument(
        '--cls-iters',
        type=int,
        help="pretraining: iterations of the classifiers, instead of their configs' "
        'own; --iters is for the segmenters alone',
    )
    add_run_arguments(
        parser,
        REPO / 'work_dirs' / 'training',
        '0 1 2 3 4 for distillation, else 0 1 2',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    compat.apply()
    cls_root, dense_root = REAL if args.what == 'pretraining' else SHAPES
    place = Place(
        REPO,
        args.cls_root or REPO / 'data' / cls_root,
        args.dense_root or REPO / 'data' / dense_root,
        args.out,
    )
    common = dict(iters=args.iters, command=own_command('dev.compare_training'))
    if args.seeds:
        common['seeds'] = args.seeds
    if args.what == 'distillation':
        compare_distillation(place, noise=args.noise, **common)
    elif args.what == 'sam-distillation':
        compare_sam_distillation(place, teacher=args.teacher, **common)
    else:
        compare_pretraining(
            place, teacher=args.teacher, cls_iters=args.cls_iters, **common
        )


if __name__ == '__main__':
    main_guard(main)
