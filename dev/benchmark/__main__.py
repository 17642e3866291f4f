"""Measure the latency of models in several runtimes, and draw it."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from dev.benchmark import plots, report, suite, whole
from dev.benchmark.cases import Case, list_classifiers
from dev.benchmark.dense_cases import ConfiguredModel, draw_example, list_dense
from dev.benchmark.rounds import LEAST_ROUNDS, Section, Settings
from dev.benchmark.runtimes import RUNTIMES
from dev.benchmark.train_cases import list_training
from dev.model_zoo.figures import read_published
from dev.subprocess_steps import own_command
from mmrapidnet import compat
from mmrapidnet.apis.cli import main_guard
from mmrapidnet.apis.latency import WARM_UP

REPO = Path(__file__).resolve().parents[2]
PUBLISHED = REPO / 'configs' / 'published.yml'
MODULE = 'dev.benchmark'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=f'runtimes: {", ".join(RUNTIMES)}'
    )
    commands = parser.add_subparsers(required=True, metavar='COMMAND')

    classifiers = commands.add_parser(
        'classifiers', help='backbones with their classifiers, images to logits'
    )
    classifiers.set_defaults(run=run_classifiers)
    classifiers.add_argument(
        '--models',
        nargs='+',
        default=['rapidnet_ti'],
        metavar='NAME',
        help='ours (rapidnet_ti, repvit_m0_9, ...), mobilenetv2_x1_4, timm:NAME or '
        'mmpretrain:NAME (default: rapidnet_ti)',
    )
    classifiers.add_argument(
        '--sizes', nargs='+', type=int, default=[224], help='edges of square images'
    )
    classifiers.add_argument(
        '--batches', nargs='+', type=int, default=[1], help='images per call'
    )
    add_measuring_arguments(classifiers)

    dense = commands.add_parser(
        'dense', help='a whole detector or segmenter, image file to final result'
    )
    dense.set_defaults(run=run_dense)
    add_model_arguments(dense)
    dense.add_argument('--image', type=Path, help='the image file; drawn without one')
    dense.add_argument(
        '--size',
        nargs=2,
        type=int,
        metavar=('H', 'W'),
        help="stretch images to this, instead of the config's own resizing",
    )
    add_measuring_arguments(dense)

    train = commands.add_parser('train', help="a config's training step, drawn images")
    train.set_defaults(run=run_train)
    add_model_arguments(train)
    train.add_argument(
        '--size',
        nargs=2,
        type=int,
        metavar=('H', 'W'),
        help='of the images (default: 800 1216 of a detector, 512 512 of a segmenter)',
    )
    train.add_argument('--batch', type=int, default=1, help='images per step')
    add_measuring_arguments(train)

    plot = commands.add_parser(
        'plot', help='accuracy against latency and against multiply-accumulates'
    )
    plot.set_defaults(run=run_plot)
    plot.add_argument('results', type=Path, help='a benchmark.json')
    plot.add_argument('--out', type=Path, required=True, help='the picture to write')
    plot.add_argument('--runtime', help='whose latencies (default: the most models)')
    plot.add_argument('--size', type=int, default=224, help='edge of the images')

    tables = commands.add_parser('tables', help='print the tables of a benchmark.json')
    tables.set_defaults(run=run_tables)
    tables.add_argument('results', type=Path, help='a benchmark.json')

    page = commands.add_parser(
        'page', help='what docs/benchmark.md shows of classifiers, and its figure'
    )
    page.set_defaults(run=run_page)
    add_page_arguments(page)

    models = commands.add_parser(
        'whole', help='detectors and segmenters side by side, and training steps'
    )
    models.set_defaults(run=run_whole)
    models.add_argument(
        '--models',
        nargs='+',
        default=whole.NAMES,
        metavar='NAME',
        help=f'some of {", ".join(whole.NAMES)} (default: all)',
    )
    models.add_argument(
        '--checkpoint',
        action='append',
        default=[],
        metavar='CONFIG=FILE',
        help='a trained one of these models, by the config that its training wrote and '
        'the checkpoint; others have random weights',
    )
    add_page_arguments(models)
    return parser.parse_args()


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='config file')
    parser.add_argument('--checkpoint', help='its weights; random without one')


def add_page_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--into', type=Path, metavar='PAGE', help='a page to put the tables into'
    )
    add_measuring_arguments(parser, chosen=False)


def add_measuring_arguments(
    parser: argparse.ArgumentParser, chosen: bool = True
) -> None:
    if chosen:
        parser.add_argument(
            '--runtimes',
            nargs='+',
            metavar='RUNTIME',
            help=f'some of {", ".join(RUNTIMES)} (default: what is installed)',
        )
        parser.add_argument(
            '--baseline',
            default=suite.BASELINE,
            help='what ratios are to: a runtime, a model or MODEL/RUNTIME (default: '
            f'{suite.BASELINE})',
        )
    parser.add_argument(
        '--out',
        type=Path,
        default=REPO / 'work_dirs' / 'benchmark',
        help='folder for benchmark.json and benchmark.md',
    )
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument(
        '--rounds', type=int, default=LEAST_ROUNDS, help='timed calls of each'
    )
    parser.add_argument(
        '--warm-up', type=int, default=WARM_UP, help='calls before the timed ones'
    )
    parser.add_argument(
        '--trial',
        action='store_true',
        help=f'allow fewer rounds than {LEAST_ROUNDS}; tables will say so',
    )
    parser.add_argument(
        '--no-memory', action='store_true', help='do not measure peak memory'
    )


def run_classifiers(args: argparse.Namespace) -> None:
    def cases(runtimes: Sequence[str], folder: str) -> list[Case]:
        return list_classifiers(
            args.models,
            runtimes,
            args.sizes,
            args.batches,
            args.device,
            args.threads,
            folder,
        )

    measure(args, 'classifiers', 'Classifiers', cases)


def run_dense(args: argparse.Namespace) -> None:
    size = args.size and tuple(args.size)
    source = ConfiguredModel(args.config, args.checkpoint, size)

    def cases(runtimes: Sequence[str], folder: str) -> list[Case]:
        image = args.image or draw_example(folder)
        return list_dense(source, runtimes, image, args.device, args.threads, folder)

    measure(args, 'dense', f'{source.name}, image file to result', cases)


def run_train(args: argparse.Namespace) -> None:
    source = ConfiguredModel(args.config, args.checkpoint)

    def cases(runtimes: Sequence[str], folder: str) -> list[Case]:
        return list_training(
            source,
            runtimes,
            args.size and tuple(args.size),
            args.batch,
            args.device,
            args.threads,
            folder,
        )

    measure(args, 'train', f'{source.name}, a training step', cases)


def measure(
    args: argparse.Namespace,
    task: str,
    title: str,
    list_cases: Callable[[Sequence[str], str], list[Case]],
) -> None:
    runtimes = args.runtimes or suite.default_runtimes(task, args.device)
    with TemporaryDirectory() as folder:
        section = Section(title, list_cases(runtimes, folder), args.baseline)
        suite.measure([section], settings_of(args), args.out, own_command(MODULE))


def run_plot(args: argparse.Namespace) -> None:
    record = report.read_json(args.results)
    published = read_published(PUBLISHED)
    plots.draw(record, published, args.out, args.runtime, args.size)
    print(f'written to {args.out}')


def run_tables(args: argparse.Namespace) -> None:
    report.print_tables(report.read_json(args.results))


def run_page(args: argparse.Namespace) -> None:
    with TemporaryDirectory() as folder:
        suite.measure_for_page(
            repo=REPO,
            settings=settings_of(args),
            out=args.out,
            command=own_command(MODULE),
            page=args.into,
            device=args.device,
            threads=args.threads,
            folder=folder,
        )


def run_whole(args: argparse.Namespace) -> None:
    with TemporaryDirectory() as folder:
        suite.measure_whole_models(
            repo=REPO,
            names=args.models,
            trained=whole.read_trained(args.checkpoint),
            settings=settings_of(args),
            out=args.out,
            command=own_command(MODULE),
            page=args.into,
            device=args.device,
            threads=args.threads,
            folder=folder,
        )


def settings_of(args: argparse.Namespace) -> Settings:
    return Settings(args.rounds, args.warm_up, args.trial, not args.no_memory)


def main() -> None:
    args = parse_args()
    compat.apply()
    args.run(args)


if __name__ == '__main__':
    main_guard(main)
