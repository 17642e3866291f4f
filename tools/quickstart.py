"""Train and test two small models on an embedded data set and draw what they see."""

import argparse
from pathlib import Path

from mmrapidnet.cli import main_guard
from mmrapidnet.quickstart import quickstart

REPO = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data-root', type=Path, default=REPO / 'data' / 'shapes')
    parser.add_argument('--out', type=Path, default=REPO / 'work_dirs' / 'quickstart')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    quickstart(REPO, args.data_root, args.out)


if __name__ == '__main__':
    main_guard(main)
