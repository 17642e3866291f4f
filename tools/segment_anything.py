"""Segment anything in images, from points, boxes or by itself; draw and list masks."""

import argparse

from mmrapidnet import compat
from mmrapidnet.apis.cli import add_image_arguments, main_guard
from mmrapidnet.apis.segment_images import Prompts, segment_images


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_image_arguments(parser, out='folder for the pictures and masks.json')
    model = parser.add_argument_group(
        'model', 'A config and a checkpoint, or the two files of tools/export.py.'
    )
    model.add_argument('--config', help='config file')
    model.add_argument('--checkpoint', help='checkpoint')
    model.add_argument('--encoder', metavar='FILE', help='exported encoder')
    model.add_argument('--decoder', metavar='FILE', help='exported decoder')
    prompts = parser.add_argument_group(
        'prompts', 'In pixels of the image; of one kind, and the same in every image.'
    )
    prompts.add_argument(
        '--point',
        nargs=2,
        action='append',
        default=[],
        metavar=('X', 'Y[,0|1]'),
        help='a point of the object, or with 0 one outside of it; may be repeated',
    )
    prompts.add_argument(
        '--box',
        nargs=4,
        type=float,
        action='append',
        default=[],
        metavar=('X1', 'Y1', 'X2', 'Y2'),
        help='a box around an object; may be repeated, for several objects',
    )
    prompts.add_argument(
        '--boxes-from',
        metavar='JSON',
        help="the boxes of a COCO result file, by the images' names, or of a data set",
    )
    prompts.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        help='least score of a box of a COCO result file (default: %(default)s)',
    )
    prompts.add_argument(
        '--everything', action='store_true', help='all there is in an image'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    compat.apply()
    prompts = Prompts(
        args.point, args.box, args.boxes_from, args.everything, args.score_thr
    )
    masks, images = segment_images(
        args.config,
        args.checkpoint,
        args.inputs,
        args.out,
        prompts,
        device=args.device,
        encoder=args.encoder,
        decoder=args.decoder,
    )
    print(f'{masks} masks of {images} images written to {args.out}')


if __name__ == '__main__':
    main_guard(main)
