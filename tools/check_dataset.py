"""Check the data sets of a config: records, and every image and label map."""

import argparse

from mmrapidnet.apis import cli
from mmrapidnet.config import libraries
from mmrapidnet.datasets.check import report, run
from mmrapidnet.datasets.check.coco.fix import fix_annotations


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    cli.add_config_arguments(parser)
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
        help='threads that read images (default: one per core)',
    )
    parser.add_argument(
        '--out', help='a file for all problems, one JSON object per line'
    )
    parser.add_argument(
        '--fix',
        metavar='OUT.json',
        help="write a copy of the splits' COCO JSON, corrected as far as that needs no "
        'guessing, and check the copy',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = cli.load_config(args)
    libraries.require_library(cfg)
    dataloaders = [f'{split}_dataloader' for split in args.splits]
    if args.fix:
        changes = fix_annotations(cfg, dataloaders, args.fix)
        report.report_changes(changes, args.fix)
    report.report(run.find_problems(cfg, dataloaders, args.workers), args.out)


if __name__ == '__main__':
    cli.main_guard(main)
