"""Check the data sets of a config: records, and every image and label map."""

import argparse
from pathlib import Path

from mmengine.config import DictAction

from mmrapidnet import compat
from mmrapidnet.cli import SHAPES_ROOT, main_guard
from mmrapidnet.data_check import find, report
from mmrapidnet.engine import config, libraries, shapes

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    data = parser.add_mutually_exclusive_group()
    data.add_argument('--data-root', help='the folder of the data set')
    data.add_argument(
        '--shapes',
        nargs='?',
        const=SHAPES_ROOT,
        metavar='DIR',
        help=f'as in tools/train.py (default of DIR: {SHAPES_ROOT})',
    )
    parser.add_argument(
        '--splits',
        nargs='+',
        choices=('train', 'val', 'test'),
        default=('train', 'val', 'test'),
        help='default: all; what is used twice is read once',
    )
    parser.add_argument(
        '--workers',
        type=int,
        metavar='N',
        help='threads that read images (default: a core each)',
    )
    parser.add_argument('--out', help='a file for all problems, a JSON object a line')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='settings to override, as key=value; lists as key="[a,b]" or key=a,b',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    compat.apply()
    adapt = shapes.adaptor_to_shapes(args.shapes, CONFIGS)
    cfg = config.load_config(args.config, args.cfg_options, args.data_root, adapt=adapt)
    libraries.require_library(cfg)
    dataloaders = [f'{split}_dataloader' for split in args.splits]
    report.report(find.find_problems(cfg, dataloaders, args.workers), args.out)


if __name__ == '__main__':
    main_guard(main)
