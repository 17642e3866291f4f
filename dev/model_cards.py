"""Write the model index and the tables of models from the models and the figures."""

from __future__ import annotations

import argparse
from pathlib import Path

from dev.model_zoo.cards import PUBLISHED, RESULTS, make_cards
from dev.model_zoo.figures import read_published, read_results
from dev.model_zoo.markdown import place_in_page
from dev.model_zoo.metafile import MADE_BY, to_yaml, write_metafile
from dev.model_zoo.tables import write_overview, write_tables
from mmrapidnet import compat
from mmrapidnet.apis.cli import main_guard
from mmrapidnet.utils.errors import UserError

REPO = Path(__file__).resolve().parents[1]
METAFILE = 'configs/metafile.yml'
MODEL_INDEX = 'model-index.yml'
README = 'README.md'
MODEL_ZOO = 'docs/model_zoo.md'

_BEGIN = '<!-- models: made by python -m dev.model_cards -->'
_END = '<!-- end of models -->'


def write_cards(root: Path) -> list[Path]:
    """Write the model index, the metafile, and the tables of README and model zoo.

    Args:
        root: The repository.

    Returns:
        The files that changed.

    Raises:
        UserError: As `generate`.
    """
    changed = []
    for path, text in generate(root).items():
        if _read(path) != text:
            path.write_text(text, encoding='utf-8')
            changed.append(path)
    return changed


def check_cards(root: Path) -> None:
    """Raise unless every generated file is what `write_cards` would write.

    Args:
        root: The repository.

    Raises:
        UserError: Naming the files that are not.
    """
    stale = [path.name for path, text in generate(root).items() if _read(path) != text]
    if stale:
        raise UserError(
            f'{", ".join(stale)} not as generated from models, configs and figures: '
            'run python -m dev.model_cards'
        )


def generate(root: Path) -> dict[Path, str]:
    """Make the content of every file that tells of the models.

    Args:
        root: The repository.

    Returns:
        Path to content.

    Raises:
        UserError: If a file of figures is wrong, names a model without a config, or
            a page has no place for its tables.
    """
    published = read_published(root / PUBLISHED)
    results = read_results(root / RESULTS)
    cards = make_cards(root / 'configs', published, results)
    tables = {
        root / README: write_overview(cards),
        root / MODEL_ZOO: write_tables(cards, published.families),
    }
    return {
        root / METAFILE: write_metafile(cards, published.families),
        root / MODEL_INDEX: MADE_BY + to_yaml({'Import': [METAFILE]}),
        **{page: place_in_page(t, page, _BEGIN, _END) for page, t in tables.items()},
    }


def _read(path: Path) -> str:
    return path.read_text(encoding='utf-8') if path.is_file() else ''


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--check',
        action='store_true',
        help='write nothing; fail if a file is not what would be written',
    )
    parser.add_argument(
        '--root', type=Path, default=REPO, help='the repository (default: this one)'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    compat.apply()
    if args.check:
        check_cards(args.root)
        return
    for path in write_cards(args.root):
        print(f'written: {path}')


if __name__ == '__main__':
    main_guard(main)
