"""Print the paper's ablation table, with what each model counts here."""

import argparse
from pathlib import Path

from dev.model_zoo import ablations
from mmrapidnet import compat
from mmrapidnet.apis.cli import main_guard

FOLDER = Path(__file__).resolve().parents[1] / 'configs' / 'ablations'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--folder', type=Path, default=FOLDER, help='the folder with published.yml'
    )
    parser.add_argument(
        '--markdown', action='store_true', help='print Markdown, for the docs'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    compat.apply()
    source, rows = ablations.read_ablations(args.folder / 'published.yml')
    if args.markdown:
        print(ablations.to_markdown(rows))
    else:
        ablations.print_table(
            rows,
            f"RapidNet-Ti's ablations (in brackets without distillation)\n{source}",
        )


if __name__ == '__main__':
    main_guard(main)
