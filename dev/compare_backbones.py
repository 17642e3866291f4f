"""Train backbones alike, several seeds each, and compare them in a table."""

import argparse
from pathlib import Path

from dev.comparison.backbones import compare
from dev.comparison.data_sets import BACKBONES, DATA_SETS
from dev.comparison.runs import add_run_arguments
from dev.subprocess_steps import own_command
from mmrapidnet import compat
from mmrapidnet.apis.cli import main_guard

REPO = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'data',
        nargs='?',
        choices=tuple(DATA_SETS),
        default='shapes',
        help='what to train on: shapes and camvid for segmenters, nuclei for detectors '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--data-root',
        type=Path,
        help='the data set (default: data/ and its name); Shapes is written there if '
        'nothing is',
    )
    parser.add_argument(
        '--models',
        nargs='+',
        help=f'some of {", ".join(BACKBONES)} (default: all that have a config)',
    )
    parser.add_argument(
        '--pretrained',
        type=Path,
        metavar='FILE',
        help='train RapidNet-Ti also from the backbone in this file',
    )
    seeds = ', '.join(
        f'{" ".join(map(str, data.seeds))} for {data.name}'
        for data in DATA_SETS.values()
    )
    add_run_arguments(parser, REPO / 'work_dirs' / 'comparison', seeds)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    compat.apply()
    data = DATA_SETS[args.data]
    compare(
        REPO,
        data,
        args.data_root or REPO / 'data' / data.name,
        args.out,
        args.seeds or data.seeds,
        args.models or data.backbones,
        pretrained=args.pretrained,
        iters=args.iters,
        command=own_command('dev.compare_backbones'),
    )


if __name__ == '__main__':
    main_guard(main)
