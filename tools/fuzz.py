"""Give the tools random arguments and damaged files: do they fail in one line?"""

import argparse
from pathlib import Path

from mmrapidnet import fuzz
from mmrapidnet.cli import main_guard

REPO = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--runs', type=int, help='how many commands (default: any)')
    parser.add_argument(
        '--seconds',
        type=float,
        default=300,
        help='begin no command after this (default: %(default)s)',
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--case', type=int, help='run this one alone, show its output')
    parser.add_argument(
        '--timeout',
        type=float,
        default=120,
        help='seconds a command may take (default: %(default)s)',
    )
    parser.add_argument(
        '--exported',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='give exported files, too, which take a minute to make',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    fuzz.run(
        REPO,
        args.runs,
        args.seconds,
        args.seed,
        args.case,
        args.exported,
        args.timeout,
    )


if __name__ == '__main__':
    main_guard(main)
