"""Fuse a checkpoint: merge normalisations and branches, for evaluation alone."""

import argparse

from mmrapidnet import compat
from mmrapidnet.apis.cli import main_guard
from mmrapidnet.deploy.fused_checkpoint import fuse_checkpoint
from mmrapidnet.utils.errors import UserError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', metavar='IN', help='checkpoint file')
    parser.add_argument('dst', metavar='OUT', help='the file: .pth or .safetensors')
    parser.add_argument('--config', help='config file of the model (required)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.config is None:
        raise UserError(
            f'{args.src}: give the config of its model with --config, such as the one '
            'that the training wrote into its work dir'
        )
    compat.apply()
    print(fuse_checkpoint(args.src, args.dst, args.config))
    print(f'written to {args.dst}')


if __name__ == '__main__':
    main_guard(main)
