"""Draw the predictions of a detector, a segmenter or a classifier on images."""

import argparse

from mmrapidnet import compat
from mmrapidnet.apis import inference
from mmrapidnet.apis.cli import add_image_arguments, main_guard
from mmrapidnet.config import load


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--config', required=True, help='config file')
    parser.add_argument(
        '--checkpoint', required=True, help='checkpoint, or a file exported from it'
    )
    add_image_arguments(parser, out='folder for the pictures')
    parser.add_argument(
        '--score-thr', type=float, default=0.3, help='least score of a detection'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    compat.apply()
    cfg = load.load_config(args.config)
    images = inference.infer(
        cfg, args.checkpoint, args.inputs, args.out, args.device, args.score_thr
    )
    print(f'{len(images)} pictures written to {args.out}/vis')


if __name__ == '__main__':
    main_guard(main)
