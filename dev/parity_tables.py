"""The tables of `dev.parity`: models by precisions, one for each format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from dev.model_zoo.markdown import make_table

# What a metric may be off by, in points (hundredths of the best value).
BOUNDS = {'fp32': 0.1, 'fp16': 0.5, 'bf16': 0.5, 'int8': 0.5}
PYTORCH, FUSED = 'PyTorch', 'PyTorch, fused'
_TOLD = (
    'torch',
    'onnxruntime',
    'openvino',
    'nncf',
    'ncnn',
    'executorch',
    'ai-edge-litert',
    'ai-edge-quantizer',
)


@dataclass(frozen=True)
class Cell:
    """What a test of a model gave, in PyTorch or from a file, or why there is none.

    Attributes:
        model: Name of the config.
        runtime: 'PyTorch', 'PyTorch, fused' or the file's format.
        precision: 'fp32', 'fp16', 'bf16' or 'int8'; empty for all of a format.
        metrics: Name to points; empty if there is a reason.
        reason: Why there is no file to test, in a few words.
        fault: What a tool said, if that is the reason.
        controlled: Whether layers were left in float to keep the metric.
        reference: The metrics of the checkpoint in PyTorch.
    """

    model: str
    runtime: str
    precision: str
    metrics: dict[str, float] = field(default_factory=dict)
    reason: str = ''
    fault: str = ''
    controlled: bool = False
    reference: dict[str, float] = field(default_factory=dict)

    @property
    def difference(self) -> float:
        """The largest difference of a metric from the checkpoint's, in points."""
        return max(
            abs(self.metrics[name] - self.reference[name]) for name in self.metrics
        )

    @property
    def holds(self) -> bool:
        """Whether there is a figure, within its bound."""
        return bool(self.metrics) and self.difference <= BOUNDS[self.precision]

    @property
    def text(self) -> str:
        """The figures, or the reason; marked if layers are in float or it is off."""
        if not self.metrics:
            return self.reason
        figures = write_figures(self.metrics) + '*' * self.controlled
        return figures if self.holds else f'{figures} (off)'


def write_figures(metrics: dict[str, float]) -> str:
    """Write the metrics of a model into a cell.

    Examples:
        >>> write_figures({'box AP': 52.014, 'mask AP': 47.86})
        '52.01, 47.86'
    """
    return ', '.join(f'{points:.2f}' for points in metrics.values())


def to_markdown(
    cells: Sequence[Cell], command: str, processor: str, versions: dict[str, str]
) -> str:
    """Write the tables for a page.

    Args:
        cells: The cells.
        command: The command that made them.
        processor: What it ran on.
        versions: Package to version.

    Returns:
        Markdown.
    """
    tables = [
        f'**{runtime}**\n\n{make_table(header, rows)}'
        for runtime, header, rows in lay_out(cells)
    ]
    told = ', '.join(f'{name} {versions[name]}' for name in _TOLD if name in versions)
    note = (
        'Points on the held-out images, beside those of the checkpoint in PyTorch. '
        'Marked with *: with layers in float that `--max-drop` found. Marked with '
        f'(off): beyond its bound. Measured on {processor}, {told}, with `{command}`.'
    )
    return '\n\n'.join([*tables, note]) + '\n'


def print_tables(cells: Sequence[Cell]) -> None:
    """Print a table for each format, and what tools said where they failed.

    Args:
        cells: The cells.
    """
    console = Console(markup=False)
    for runtime, header, rows in lay_out(cells):
        table = Table(*header, title=runtime)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for cell in cells:
        if cell.fault:
            console.print(
                f'{cell.model}, {cell.runtime} {cell.precision}: {cell.fault}',
                soft_wrap=True,
            )


def lay_out(
    cells: Sequence[Cell],
) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Lay cells out as tables.

    Args:
        cells: The cells.

    Yields:
        For each runtime but plain PyTorch its name, the header, and a row for each
        model.
    """
    models = {cell.model: cell for cell in cells if cell.runtime == PYTORCH}
    for runtime in dict.fromkeys(cell.runtime for cell in cells):
        if runtime == PYTORCH:
            continue
        own = [cell for cell in cells if cell.runtime == runtime]
        columns = list(dict.fromkeys(c.precision for c in own if c.precision))
        texts = {(cell.model, cell.precision): cell.text for cell in own}
        rows = [
            [
                name,
                ', '.join(model.metrics),
                write_figures(model.metrics),
                # Of a format that is not installed the one reason stands in the first.
                *(texts.get((name, column), '') for column in columns or ['']),
            ]
            for name, model in models.items()
        ]
        yield runtime, ['model', 'metric', PYTORCH, *(columns or ['file'])], rows
