"""Count parameters and multiply-accumulates of a config's model, part by part."""

import argparse
from pathlib import Path

from rich.console import Console

from mmrapidnet.apis import cli, model_parts


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--size',
        nargs=2,
        type=int,
        metavar=('HEIGHT', 'WIDTH'),
        help='of the image that the network sees (default: 224 224 of a classifier, '
        '512 512 of a segmenter, 800 1280 of a detector)',
    )
    cli.add_config_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = cli.load_config(args)
    found, (height, width) = model_parts.measure_config(
        cfg, args.size and tuple(args.size)
    )
    title = f'{Path(args.config).name}, {height}x{width} (height x width), not fused'
    Console().print(model_parts.make_table(found, title))


if __name__ == '__main__':
    cli.main_guard(main)
