"""Write the Shapes data set in the layouts of COCO and ADE20K."""

import argparse

from rich.console import Console
from rich.table import Table

from mmrapidnet.cli import main_guard
from mmrapidnet.data import write_shapes


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', help='folder to write to')
    parser.add_argument('--train', type=int, default=800, help='training images')
    parser.add_argument('--val', type=int, default=150, help='held-out images')
    parser.add_argument('--size', type=int, default=192, help='height and width')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace Shapes made with other parameters',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    statistics = write_shapes(
        args.out,
        splits={'train': args.train, 'val': args.val},
        image_size=args.size,
        seed=args.seed,
        overwrite=args.overwrite,
        progress=True,
    )
    table = Table('', *statistics, title=f'Shapes in {args.out}')
    for figure in statistics['train']:
        values = (split[figure] for split in statistics.values())
        table.add_row(figure.replace('_', ' '), *map(str, values))
    Console().print(table)


if __name__ == '__main__':
    main_guard(main)
