"""Write the Shapes data set: scenes, or single objects to classify."""

import argparse

from mmrapidnet.apis.cli import main_guard
from mmrapidnet.apis.report import report_data_set
from mmrapidnet.datasets.shapes import (
    DEFAULT_CLS_SPLITS,
    DEFAULT_SPLITS,
    write_shapes,
    write_shapes_cls,
)

# Layout: what writes it, and how many images by default.
LAYOUTS = {
    'dense': (write_shapes, DEFAULT_SPLITS),
    'imagenet': (write_shapes_cls, DEFAULT_CLS_SPLITS),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', help='folder to write to')
    parser.add_argument(
        '--layout',
        choices=LAYOUTS,
        default='dense',
        help='dense (default): scenes, as COCO and ADE20K are laid out; imagenet: one '
        'object per image, in one folder per class',
    )
    parser.add_argument(
        '--train', type=int, help='training images (default: 800; imagenet 4800)'
    )
    parser.add_argument(
        '--val', type=int, help='held-out images (default: 150; imagenet 720)'
    )
    parser.add_argument(
        '--size', type=int, help='height and width (default: 192; imagenet 64)'
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace Shapes made with other parameters',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    write, splits = LAYOUTS[args.layout]
    given = {'train': args.train, 'val': args.val}
    options = {} if args.size is None else {'image_size': args.size}
    statistics = write(
        args.out,
        splits=splits | {k: count for k, count in given.items() if count is not None},
        seed=args.seed,
        overwrite=args.overwrite,
        progress=True,
        **options,
    )
    report_data_set(statistics, f'Shapes in {args.out}')


if __name__ == '__main__':
    main_guard(main)
