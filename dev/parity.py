"""Exported files tested beside their checkpoint: are the metrics the same?

Every step is a command that the user can type as well; it is printed before it runs.
What was measured is kept: the same command, given again, goes on where it ended.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from dev.model_zoo.markdown import place_in_page
from dev.models_argument import add_models_argument, pair_models
from dev.parity_files import REPO, Model, list_files, measure_file, run_test
from dev.parity_tables import BOUNDS, FUSED, PYTORCH, Cell, print_tables, to_markdown
from dev.subprocess_steps import own_command, print_now, relpath
from mmrapidnet import compat
from mmrapidnet.apis.cli import main_guard
from mmrapidnet.deploy.formats import FORMATS
from mmrapidnet.utils.atomic import write_atomic
from mmrapidnet.utils.env import list_versions, processor_name
from mmrapidnet.utils.errors import UserError
from mmrapidnet.utils.folders import make_folder

_BEGIN = '<!-- parity: made by python -m dev.parity -->'
_END = '<!-- end of parity -->'


def check_parity(
    models: Sequence[tuple[str, str]],
    out_dir: Path,
    formats: Sequence[str] = FORMATS,
    page: Path | None = None,
    command: str = '',
) -> list[Cell]:
    """Export models to every format and precision that runs here, and test every file.

    Args:
        models: Path of a config and of its checkpoint, each.
        out_dir: Where logs, figures, ``parity.json`` and ``parity.md`` go. Figures
            that an earlier check left there of the same config, checkpoint, versions
            and processor are taken as they are.
        formats: Names of formats. Defaults to all.
        page: A page to put the tables into. Defaults to none.
        command: The command to name in the tables.

    Returns:
        One cell for each test, or for the reason that there is none.

    Raises:
        UserError: If the page has no place for tables, a checkpoint cannot be tested,
            or, after all is written, a metric is off by more than its bound.
    """
    if page is not None:
        place_in_page('', page, _BEGIN, _END)
    cells = []
    for config, checkpoint in models:
        model = Model(config, checkpoint, out_dir / Path(config).stem)
        cells += _check_model(model, formats)
    context = dict(
        command=command, processor=processor_name('cpu'), versions=list_versions()
    )
    record = {**context, 'cells': [asdict(cell) for cell in cells]}
    (out_dir / 'parity.json').write_text(json.dumps(record, indent=2) + '\n')
    text = to_markdown(cells, **context)
    (out_dir / 'parity.md').write_text(text)
    if page is not None:
        page.write_text(place_in_page(text, page, _BEGIN, _END))
    print_tables(cells)
    print_now(f'written to {relpath(out_dir)}/parity.{{json,md}}')
    _raise_beyond(cells)
    return cells


def _check_model(model: Model, formats: Sequence[str]) -> list[Cell]:
    print_now(f'{model.name}, {model.checkpoint}')
    make_folder(model.folder)
    reference = _resume(model, 'pytorch', partial(_test_checkpoint, model, PYTORCH))
    fused = _resume(model, 'fused', partial(_test_checkpoint, model, FUSED))
    cells = [replace(c, reference=reference.metrics) for c in (reference, fused)]
    for name, precision, reason in list_files(model.kind, formats):
        cell = Cell(
            model.name, name, precision, reference=reference.metrics, reason=reason
        )
        if not reason:
            measure = partial(measure_file, model, cell)
            cell = _resume(model, f'{name}_{precision}', measure)
        cells.append(cell)
    return cells


def _test_checkpoint(model: Model, runtime: str, folder: Path) -> Cell:
    fused = runtime == FUSED
    log = model.folder / f'{"fused" if fused else "pytorch"}.log'
    options = ['--fuse'] if fused else []
    metrics = run_test(model, model.checkpoint, folder, log, *options)
    return Cell(model.name, runtime, 'fp32', metrics)


def _resume(model: Model, name: str, measure: Callable[[Path], Cell]) -> Cell:
    """What an earlier check measured, if it was of the same; else measure it."""
    record, key = model.folder / f'{name}.json', model.key
    if record.is_file():
        found = json.loads(record.read_text())
        if found.pop('key') == key:
            return Cell(**found)
    with tempfile.TemporaryDirectory(dir=model.folder) as folder:
        cell = measure(Path(folder))
    text = json.dumps({'key': key, **asdict(cell)}, indent=2)
    write_atomic(record, text.encode())
    return cell


def _raise_beyond(cells: Sequence[Cell]) -> None:
    measured = [cell for cell in cells if cell.metrics]
    beyond = [cell for cell in measured if not cell.holds]
    if beyond:
        worst = max(beyond, key=lambda cell: cell.difference / BOUNDS[cell.precision])
        raise UserError(
            f'{worst.model} in {worst.runtime} {worst.precision} is off by '
            f'{worst.difference:.2f} points, where {BOUNDS[worst.precision]} are '
            f'allowed ({len(beyond)} of {len(measured)} figures are beyond their bound)'
        )


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_models_argument(parser)
    parser.add_argument(
        '--formats', nargs='+', choices=FORMATS, default=FORMATS, help='default: all'
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=REPO / 'work_dirs' / 'parity',
        help='folder for figures, logs and tables',
    )
    parser.add_argument(
        '--into', type=Path, metavar='PAGE', help='a page to put the tables into'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    compat.apply()
    check_parity(
        pair_models(args.models),
        args.out,
        args.formats,
        args.into,
        own_command('dev.parity'),
    )


if __name__ == '__main__':
    main_guard(main)
