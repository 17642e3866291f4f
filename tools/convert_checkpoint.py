"""Convert a published checkpoint into one that mmrapidnet's models load."""

import argparse
from pathlib import Path

from mmrapidnet import compat
from mmrapidnet.apis.cli import main_guard
from mmrapidnet.checkpoints.convert.convert import convert_checkpoint

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', help='the published file')
    parser.add_argument('dst', help='the file to write: .pth or .safetensors')
    parser.add_argument(
        '--model', help='insist on a model, such as rapidnet_s (default: what fits)'
    )
    parser.add_argument(
        '--ema',
        action=argparse.BooleanOptionalAction,
        help='take the moving average of the weights (default: where there is one)',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    compat.apply()
    print(convert_checkpoint(args.src, args.dst, args.model, args.ema, CONFIGS))
    print(f'written to {args.dst}')


if __name__ == '__main__':
    main_guard(main)
