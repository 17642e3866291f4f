"""Watch the memory of a long inference, a long training or many data workers."""

import argparse
from pathlib import Path

from mmrapidnet.cli import SHAPES_ROOT, main_guard
from mmrapidnet.memory.jobs import watch_inference, watch_training, watch_workers

REPO = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--out',
        type=Path,
        default=REPO / 'work_dirs' / 'memory',
        help='folder for curves and runs (default: %(default)s)',
    )
    jobs = parser.add_subparsers(dest='job', required=True)

    inference = jobs.add_parser(
        'inference', help='tools/infer.py on images of any size'
    )
    inference.add_argument('config')
    inference.add_argument('checkpoint')
    inference.add_argument('--images', type=int, default=2000)

    training = jobs.add_parser('training', help='tools/train.py for a time')
    training.add_argument('config')
    training.add_argument('--minutes', type=float, default=30.0)
    training.add_argument('--data-root')

    workers = jobs.add_parser(
        'workers', help='training on a large annotation file with 1, 2 and 4 workers'
    )
    workers.add_argument('config', help='of a detector on Shapes')
    workers.add_argument('--data-root', type=Path, default=Path(SHAPES_ROOT, 'coco'))
    workers.add_argument('--annotations', type=int, default=500_000)
    workers.add_argument('--seconds', type=float, default=90.0)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.job == 'inference':
        watch_inference(REPO, args.config, args.checkpoint, args.out, args.images)
    elif args.job == 'training':
        root = ('--data-root', args.data_root) if args.data_root else ()
        watch_training(REPO, args.config, args.out, args.minutes, root)
    else:
        watch_workers(
            REPO,
            args.config,
            args.data_root,
            args.out,
            args.annotations,
            seconds=args.seconds,
        )


if __name__ == '__main__':
    main_guard(main)
