"""The table of RapidNet's ablations: counted here, beside the paper's figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from dev.model_zoo.classifiers import Complexity, measure
from dev.model_zoo.markdown import make_table
from mmrapidnet.config.load import load_config
from mmrapidnet.models.backbones.rapidnet import (
    ConditionalPositionEncoding,
    DeformableMixer,
    DilatedMixer,
    LargeKernelFFN,
)
from mmrapidnet.utils.errors import UserError

COLUMNS = (
    'row',
    'mixer',
    'CPE',
    'LK-FFN',
    'params M',
    'GMACs',
    'paper: params M',
    'paper: GMACs',
    'paper: top-1',
)
_PUBLISHED = ('params', 'gmacs', 'top1', 'top1_without_distillation')


@dataclass(frozen=True)
class Ablation:
    """A row of the table.

    Attributes:
        name: What the paper calls it.
        mixer: The branches of the token mixer, such as '3x3 d2 + 3x3 d3' (d is the
            dilation); the backbone's name if it has another kind of mixer.
        cpe: Whether there is a conditional position encoding.
        large_kernel_ffn: Whether the FFN has its large kernel.
        counted: What the model costs, with both classifiers at 224x224.
        published: The paper's figures: ``top1`` (%), and as far as it prints them
            ``params`` (M), ``gmacs`` and ``top1_without_distillation`` (%).
    """

    name: str
    mixer: str
    cpe: bool
    large_kernel_ffn: bool
    counted: Complexity
    published: dict[str, float]

    def cells(self) -> tuple[str, ...]:
        """The row as text, one cell for each of `COLUMNS`, empty where unknown."""
        macs = self.counted.macs
        return (
            self.name,
            self.mixer,
            'yes' if self.cpe else 'no',
            'yes' if self.large_kernel_ffn else 'no',
            f'{self.counted.params / 1e6:.3f}',
            '' if macs is None else f'{macs / 1e9:.3f}',
            str(self.published.get('params', '')),
            str(self.published.get('gmacs', '')),
            self._top1(),
        )

    def _top1(self) -> str:
        """In percent, in brackets without distillation."""
        undistilled = self.published.get('top1_without_distillation')
        return str(self.published['top1']) + (
            f' ({undistilled})' if undistilled else ''
        )


def read_ablations(path: str | Path) -> tuple[str, list[Ablation]]:
    """Read the published table, and build and count the model of each row.

    Args:
        path: A YAML file with ``source`` and ``rows``; a row has a ``name``, a
            ``config`` relative to the file, and the paper's figures.

    Returns:
        The source, and the rows in the file's order.

    Raises:
        UserError: If there is no such file, or a row's config cannot be loaded.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f'there is no {path}: give the folder of the ablations, such as '
            'configs/ablations'
        )
    content = yaml.safe_load(path.read_text())
    return content['source'], [
        _read_row(row, path.parent / row['config']) for row in content['rows']
    ]


def to_markdown(rows: Sequence[Ablation]) -> str:
    """Write the table in Markdown.

    Args:
        rows: The rows of the table.

    Returns:
        Its lines, joined.
    """
    return make_table(COLUMNS, [row.cells() for row in rows])


def print_table(rows: Sequence[Ablation], title: str) -> None:
    """Print the table for a terminal.

    Args:
        rows: The rows of the table.
        title: Its title.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, box=SIMPLE_HEAD, show_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify='left' if name in COLUMNS[:4] else 'right')
    for row in rows:
        table.add_row(*row.cells())
    # Cells that are cut would be worse than lines longer than the terminal.
    Console(width=160).print(table)


def _read_row(row: dict[str, Any], config: Path) -> Ablation:
    cfg = load_config(str(config))
    init_default_scope(cfg.default_scope)
    # Counting needs no augmentation, of which mmpretrain would log a line.
    model = MODELS.build({**cfg.model, 'train_cfg': None})
    kinds = {type(module) for module in model.backbone.modules()}
    return Ablation(
        name=row['name'],
        mixer=_describe_mixer(model.backbone),
        cpe=ConditionalPositionEncoding in kinds,
        large_kernel_ffn=LargeKernelFFN in kinds,
        counted=measure(model),
        published={key: row[key] for key in _PUBLISHED if key in row},
    )


def _describe_mixer(backbone: nn.Module) -> str:
    mixers = [m for m in backbone.modules() if isinstance(m, DilatedMixer)]
    if not mixers:
        return type(backbone).__name__
    branches = []
    for branch in mixers[0].branches:
        (size, _), (dilation, _) = branch.conv.kernel_size, branch.conv.dilation
        branches.append(f'{size}x{size}' + (f' d{dilation}' if dilation > 1 else ''))
    kind = 'deformable ' if isinstance(mixers[0], DeformableMixer) else ''
    return kind + ' + '.join(branches)
