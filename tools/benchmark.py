"""Time a model in PyTorch, fused, and files exported from it: the network alone."""

import argparse
from pathlib import Path

import torch
from rich.console import Console

from mmrapidnet.apis import benchmark, cli, latency


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('--checkpoint', help='its weights (default: random ones)')
    parser.add_argument(
        '--exported',
        nargs='+',
        default=[],
        metavar='FILE',
        help='files that tools/export.py wrote',
    )
    parser.add_argument(
        '--size',
        nargs=2,
        type=int,
        metavar=('HEIGHT', 'WIDTH'),
        help='of the image that the network sees (default: what an exported file is '
        'fixed to, or 224 224 of a classifier, 512 512 of a segmenter, 800 1280 of a '
        'detector)',
    )
    parser.add_argument(
        '--threads',
        type=int,
        default=torch.get_num_threads(),
        help="on the CPU (default: PyTorch's own choice)",
    )
    parser.add_argument(
        '--rounds',
        type=int,
        default=latency.ROUNDS,
        help=f'timed calls of each (default: {latency.ROUNDS})',
    )
    parser.add_argument(
        '--warm-up',
        type=int,
        default=latency.WARM_UP,
        help=f'calls of each before the timed ones (default: {latency.WARM_UP})',
    )
    parser.add_argument(
        '--device', choices=['cpu', 'cuda'], default='cpu', help='default: cpu'
    )
    cli.add_config_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    settings = benchmark.Settings(
        size=args.size and tuple(args.size),
        device=args.device,
        threads=args.threads,
        rounds=args.rounds,
        warm_up=args.warm_up,
    )
    found = benchmark.measure(
        cli.load_config(args), args.checkpoint, args.exported, settings
    )
    height, width = found.size
    title = f'{Path(args.config).name}, {height}x{width} (height x width)'
    console = Console(markup=False, emoji=False)
    console.print(benchmark.make_table(found, title))
    console.print(benchmark.describe(found, settings), soft_wrap=True, highlight=False)


if __name__ == '__main__':
    cli.main_guard(main)
