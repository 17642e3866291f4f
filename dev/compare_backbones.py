"""Train backbones alike on Shapes, several seeds each, and compare them in a table."""

import argparse
from pathlib import Path

from dev.comparison.backbones import BACKBONES, SEEDS, compare
from dev.comparison.runs import add_run_arguments
from dev.subprocess_steps import own_command
from mmrapidnet import compat
from mmrapidnet.apis.cli import main_guard

REPO = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--data-root',
        type=Path,
        default=REPO / 'data' / 'shapes',
        help='a Shapes data set; written there if nothing is',
    )
    parser.add_argument(
        '--models',
        nargs='+',
        default=tuple(BACKBONES),
        help=f'some of {", ".join(BACKBONES)} (default: all)',
    )
    add_run_arguments(parser, REPO / 'work_dirs' / 'comparison', SEEDS)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    compat.apply()
    runs = (args.out, args.seeds, args.models, args.iters)
    compare(REPO, args.data_root, *runs, own_command('dev.compare_backbones'))


if __name__ == '__main__':
    main_guard(main)
