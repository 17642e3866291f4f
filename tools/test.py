"""Test a checkpoint, or a file exported from it, with its config's metrics."""

import argparse
from pathlib import Path

from mmrapidnet.apis import options, test
from mmrapidnet.apis.cli import add_run_arguments, load_run_config, main_guard

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint, or a file exported from it')
    add_run_arguments(parser)
    parser.add_argument('--fuse', action='store_true', help='fuse the model first')
    parser.add_argument(
        '--out',
        help='keep the predictions: a .pkl file for detection, a folder for '
        'segmentation',
    )
    parser.add_argument('--show-dir', help='a folder for pictures of predictions')
    parser.add_argument(
        '--tta', action='store_true', help='test-time augmentation (segmentation)'
    )
    parser.add_argument(
        '--confusion-matrix',
        action='store_true',
        help='write which class was taken for which into the work dir, as '
        'confusion_matrix.json and .png (segmentation, classification)',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = load_run_config(args, CONFIGS)
    if args.out:
        options.save_predictions(cfg, args.out)
    if args.show_dir:
        options.draw_predictions(cfg, args.show_dir)
    if args.tta:
        options.enable_tta(cfg)
    test.test(cfg, args.checkpoint, args.fuse, args.confusion_matrix)


if __name__ == '__main__':
    main_guard(main)
