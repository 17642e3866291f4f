"""Test a published checkpoint on its data set and keep what was measured."""

import argparse
from pathlib import Path

from mmrapidnet import compat
from mmrapidnet.analysis.figures import read_published
from mmrapidnet.cli import main_guard
from mmrapidnet.reproduce import list_runs, reproduce

REPO = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'model', nargs='?', help='name of a config, such as maskrcnn_rapidnet_m_coco'
    )
    parser.add_argument(
        '--file', type=Path, help='the published checkpoint; without it, where it is'
    )
    parser.add_argument('--data-root', type=Path, help='the folder of the data set')
    parser.add_argument('--work-dir', type=Path, help='the folder for what it writes')
    parser.add_argument(
        '--results', type=Path, default=REPO / 'results.yml', help='the results file'
    )
    parser.add_argument(
        '--list', action='store_true', help='list models, their files and addresses'
    )
    args = parser.parse_args()
    if not (args.model or args.list):
        parser.error('name a model, or give --list')
    return args


def main() -> None:
    args = parse_args()
    if args.list:
        for model, run in list_runs(read_published(REPO / 'configs' / 'published.yml')):
            print(f'{model:26}  {run.file or "?":27}  {run.where}')
        return
    compat.apply()
    reproduce(REPO, args.model, args.file, args.data_root, args.work_dir, args.results)


if __name__ == '__main__':
    main_guard(main)
