"""Export models to every format that runs here, test each file, compare the metrics."""

import argparse
import shlex
import sys
from pathlib import Path

from mmrapidnet import compat
from mmrapidnet.cli import main_guard
from mmrapidnet.deploy.formats import FORMATS
from mmrapidnet.errors import UserError
from mmrapidnet.parity import check_parity

REPO = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'models',
        nargs='+',
        metavar='CONFIG CHECKPOINT',
        help='config file and checkpoint of each model',
    )
    parser.add_argument(
        '--formats', nargs='+', choices=FORMATS, default=FORMATS, help='default: all'
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=REPO / 'work_dirs' / 'parity',
        help='folder for the files and tables',
    )
    parser.add_argument(
        '--into', type=Path, metavar='PAGE', help='a page to put the tables into'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    compat.apply()
    if len(args.models) % 2:
        raise UserError(f'{" ".join(args.models)}: give a checkpoint after each config')
    check_parity(
        REPO,
        list(zip(args.models[::2], args.models[1::2], strict=True)),
        args.out,
        args.formats,
        args.into,
        shlex.join(['python', 'tools/parity.py', *sys.argv[1:]]),
    )


if __name__ == '__main__':
    main_guard(main)
