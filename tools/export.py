"""Export a trained model to a file that runs without PyTorch, and compare the two."""

import argparse
from pathlib import Path

from mmengine.config import DictAction

from mmrapidnet import compat
from mmrapidnet.cli import SHAPES_ROOT, main_guard
from mmrapidnet.deploy import export, formats, graphs, verify
from mmrapidnet.engine import config, shapes

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'


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
        help='the file to write: .onnx, .xml, .mlpackage or .ncnn.param',
    )
    parser.add_argument(
        '--part',
        choices=graphs.PARTS,
        default='whole',
        help='the backbone alone, or of Mask R-CNN what precedes the proposals '
        '(default: whole)',
    )
    parser.add_argument(
        '--precision',
        choices=list(verify.TOLERANCES),
        default='fp32',
        help='default: fp32',
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
        help="images of the config's data set that int8 is calibrated on "
        '(default: 300)',
    )
    data = parser.add_mutually_exclusive_group()
    data.add_argument('--data-root', help='the folder of the data set')
    data.add_argument(
        '--shapes',
        nargs='?',
        const=SHAPES_ROOT,
        metavar='DIR',
        help='the checkpoint was trained with --shapes '
        f'(default of DIR: {SHAPES_ROOT})',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='settings to override, as key=value; lists as key="[a,b]" or key=a,b',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    compat.apply()
    cfg = config.load_config(
        args.config,
        args.cfg_options,
        args.data_root,
        adapt=shapes.adaptor_to_shapes(args.shapes, CONFIGS),
    )
    report = export.export(
        cfg,
        args.checkpoint,
        args.format,
        args.out,
        part=args.part,
        precision=args.precision,
        size=tuple(args.size) if args.size else None,
        image=args.image,
        calibration_images=args.calibration_images,
    )
    print(f'written to {report.path}')


if __name__ == '__main__':
    main_guard(main)
