"""Train a detector, a segmenter or a classifier from a config."""

import argparse
from pathlib import Path

from mmrapidnet.apis import options, train
from mmrapidnet.apis.cli import add_run_arguments, load_run_config, main_guard

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    add_run_arguments(parser)
    parser.add_argument(
        '--pretrained', help='a file to take the weights of the backbone from'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='resume from a checkpoint, or with "auto" (or nothing) from the newest '
        'whole one in the work dir; where there is none the run starts',
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument(
        '--fast',
        action='store_true',
        help='feature maps as NHWC in memory and a fused optimizer',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the images per step',
    )
    parser.add_argument(
        '--accumulate',
        nargs='?',
        type=options.batches,
        const='recipe',
        metavar='N',
        help='give each step the images of N batches, one batch at a time; without N '
        "as many as the recipe's images per step take on these processes",
    )
    parser.add_argument(
        '--check-data',
        action='store_true',
        help='read every image and label map once before training, as '
        'tools/check_dataset.py does',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = load_run_config(args, CONFIGS)
    if args.pretrained:
        options.start_backbone_from(cfg, args.pretrained)
    if args.amp:
        options.enable_amp(cfg)
    if args.fast:
        options.enable_fast_step(cfg)
    if args.accumulate is not None:
        options.accumulate(cfg, args.accumulate)
    if args.auto_scale_lr:
        options.enable_auto_scale_lr(cfg)
    if args.resume:
        options.resume_from(cfg, args.resume)
    train.train(cfg, args.check_data)


if __name__ == '__main__':
    main_guard(main)
