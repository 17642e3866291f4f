"""A first look: a small segmenter learns for a minute, and a picture of what it sees.

Every step is a command that the user can type as well; it is printed before it runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dev.comparison.runs import check_iters, shorten_schedule
from dev.folders import check_renewable, renew_folder
from dev.model_zoo.contact_sheet import draw_contact_sheet
from dev.model_zoo.curves import read_scalars
from dev.shapes_jobs import SEMFPN, Steps
from dev.subprocess_steps import print_now, relpath
from mmrapidnet.apis.cli import main_guard
from mmrapidnet.config.load import load_config
from mmrapidnet.datasets.shapes import write_shapes

ITERS = 60
# Few, so that drawing them takes no time.
SPLITS = {'train': 160, 'val': 8}


def demo(repo: Path, data_root: Path, out_dir: Path, iters: int = ITERS) -> None:
    """Draw a few images of Shapes, train a segmenter on them, draw what it sees.

    Args:
        repo: The repository, with ``configs/`` and ``tools/``.
        data_root: Where Shapes goes; kept if it is there.
        out_dir: Where the run and the picture go; an earlier demo there is replaced.
        iters: How long to train. Defaults to 60.

    Raises:
        UserError: If a step fails, naming its log, or ``out_dir`` holds what no demo
            made, or ``iters`` are too few.
    """
    made = [f'{SEMFPN.name}*', 'predictions.png']
    check_iters(iters)
    check_renewable(out_dir, made)
    print_now(f'[1/3] a few images of Shapes, into {relpath(data_root)}')
    write_shapes(data_root, SPLITS, progress=True)
    renew_folder(out_dir, made)

    steps = Steps(repo, data_root, out_dir)
    print_now(f'[2/3] {SEMFPN.title}, {iters} iterations')
    cfg = load_config(str(repo / 'configs' / SEMFPN.config))
    steps.train(SEMFPN, '--fast', '--cfg-options', *shorten_schedule(cfg, iters))
    print_now('[3/3] what it sees in images that it was not trained on')
    sheet = out_dir / 'predictions.png'
    draw_contact_sheet(steps.draw(SEMFPN), sheet)

    _, losses = read_scalars(out_dir / SEMFPN.name)['loss']
    print_now(
        f'loss {losses[0]:.3f} -> {losses[-1]:.3f}\n'
        f'ground truth (left) and predictions (right): {relpath(sheet)}\n'
        'next: `make quickstart` trains a detector and a segmenter until they are '
        'good; docs/own_data.md trains on your own images'
    )


REPO = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data-root', type=Path, default=REPO / 'data' / 'shapes_demo')
    parser.add_argument('--out', type=Path, default=REPO / 'work_dirs' / 'demo')
    parser.add_argument('--iters', type=int, default=ITERS, help='default: %(default)s')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    demo(REPO, args.data_root, args.out, args.iters)


if __name__ == '__main__':
    main_guard(main)
