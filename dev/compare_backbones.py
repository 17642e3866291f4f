"""Train backbones alike on Shapes, several seeds each, and compare them in a table."""

import argparse
import shlex
import sys
from pathlib import Path

from dev.comparison.backbones import BACKBONES, SEEDS, compare
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
        '--out',
        type=Path,
        default=REPO / 'work_dirs' / 'comparison',
        help='folder for runs and tables; runs that are complete there are kept',
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=SEEDS)
    parser.add_argument(
        '--models',
        nargs='+',
        default=tuple(BACKBONES),
        help=f'some of {", ".join(BACKBONES)} (default: all)',
    )
    parser.add_argument(
        '--iters', type=int, help="iterations of a training, instead of the configs'"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    compat.apply()
    command = shlex.join(['python', '-m', 'dev.compare_backbones', *sys.argv[1:]])
    compare(
        REPO, args.data_root, args.out, args.seeds, args.models, args.iters, command
    )


if __name__ == '__main__':
    main_guard(main)
