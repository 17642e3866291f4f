"""Kill a training again and again; compare its end with an undisturbed one's."""

import argparse
from pathlib import Path

from mmrapidnet import compat
from mmrapidnet.cli import main_guard
from mmrapidnet.survival import check_survival

REPO = Path(__file__).resolve().parents[1]


def parse_args() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog='All other options go to tools/train.py.'
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('--kills', type=int, default=20, help='default: 20')
    parser.add_argument(
        '--seed', type=int, default=0, help='of the moments; default: 0'
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=REPO / 'work_dirs' / 'kill_test',
        help='folder for the two runs',
    )
    return parser.parse_known_args()


def main() -> None:
    args, others = parse_args()
    compat.apply()
    check_survival(REPO, args.config, args.out, args.kills, args.seed, others)


if __name__ == '__main__':
    main_guard(main)
