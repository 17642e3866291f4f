"""Write the model index and the tables of models from the models and the figures."""

import argparse
from pathlib import Path

from dev.model_zoo.model_card import check_cards, write_cards
from mmrapidnet import compat
from mmrapidnet.apis.cli import main_guard

REPO = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--check',
        action='store_true',
        help='write nothing; fail if a file is not what would be written',
    )
    parser.add_argument(
        '--root', type=Path, default=REPO, help='the repository (default: this one)'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    compat.apply()
    if args.check:
        check_cards(args.root)
        return
    for path in write_cards(args.root):
        print(f'written: {path}')


if __name__ == '__main__':
    main_guard(main)
