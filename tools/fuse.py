"""Fuse a checkpoint: merge normalisations and branches, for evaluation alone."""

import argparse

from mmrapidnet import compat
from mmrapidnet.cli import main_guard
from mmrapidnet.deploy.fused_checkpoint import fuse_checkpoint


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', metavar='IN', help='checkpoint file')
    parser.add_argument('dst', metavar='OUT', help='the file: .pth or .safetensors')
    parser.add_argument(
        '--config',
        help='config file of the model (default: what the checkpoint says itself)',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    compat.apply()
    print(fuse_checkpoint(args.src, args.dst, args.config))
    print(f'written to {args.dst}')


if __name__ == '__main__':
    main_guard(main)
