"""Export a trained model to a file that runs without PyTorch, and compare the two."""

import argparse

from mmrapidnet.apis import auto_precision, cli, export, points
from mmrapidnet.deploy import formats, graphs, sam_graphs, verify


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--format', required=True, choices=formats.FORMATS, help='what runs it'
    )
    parser.add_argument(
        '--out',
        required=True,
        help=f'the file to write: *{", *".join(formats.SUFFIXES.values())}',
    )
    parser.add_argument(
        '--part',
        choices=(*graphs.PARTS, *sam_graphs.PARTS),
        default='whole',
        help='the backbone alone, of a detector in two stages what precedes the '
        'proposals (dense), or of SegmentAnything one of its two files (default: '
        'whole)',
    )
    parser.add_argument(
        '--precision',
        choices=[*verify.TOLERANCES, export.AUTO],
        default='fp32',
        help='auto: the fastest on this machine that keeps the metric (default: fp32)',
    )
    parser.add_argument(
        '--max-drop',
        type=float,
        metavar='POINTS',
        help='what the metric may lose: of auto, or of int8, whose layers that cost '
        f'more then stay in float (default: {auto_precision.MAX_DROP} of auto)',
    )
    parser.add_argument(
        '--metric-images',
        type=int,
        metavar='N',
        help='images of the test set that the metric is measured on (default: '
        f'{points.IMAGES})',
    )
    parser.add_argument(
        '--size',
        nargs=2,
        type=int,
        metavar=('HEIGHT', 'WIDTH'),
        help='fix the size of the images (default: any size, where the format can)',
    )
    parser.add_argument(
        '--image',
        help="compare the file and PyTorch on this image (default: the test set's "
        'first)',
    )
    parser.add_argument(
        '--calibration-images',
        type=int,
        metavar='N',
        help='images that int8 is calibrated on (default: 300)',
    )
    parser.add_argument(
        '--calibration-folder',
        metavar='DIR',
        help="the folder of those images (default: they are of the config's data set)",
    )
    cli.add_config_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    report = export.export(
        cli.load_config(args),
        args.checkpoint,
        args.format,
        args.out,
        part=args.part,
        precision=args.precision,
        max_drop=args.max_drop,
        metric_images=args.metric_images,
        size=tuple(args.size) if args.size else None,
        image=args.image,
        calibration_images=args.calibration_images,
        calibration_folder=args.calibration_folder,
    )
    print(f'written to {report.path}')


if __name__ == '__main__':
    cli.main_guard(main)
