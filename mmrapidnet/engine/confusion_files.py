"""A confusion matrix as numbers and as a picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from mmengine.dist import master_only

from mmrapidnet.engine.confusion import ClassConfusion

NAME = 'confusion_matrix'
# Up to so many classes their numbers, and their names, are legible.
_WITH_NUMBERS, _WITH_NAMES = 25, 80


@master_only
def write_confusion(confusion: ClassConfusion, work_dir: str | Path) -> None:
    """Write ``confusion_matrix.json`` with counts, and a picture with shares.

    Args:
        confusion: What an evaluator has counted.
        work_dir: Where they go.
    """
    folder = Path(work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        'rows': 'ground truth',
        'columns': 'prediction',
        'unit': confusion.unit,
        'classes': list(confusion.classes),
        'matrix': confusion.matrix.tolist(),
    }
    (folder / f'{NAME}.json').write_text(json.dumps(record) + '\n')
    draw_confusion(confusion, folder / f'{NAME}.png')
    print(f'written to {folder / NAME}.json and .png')


def draw_confusion(confusion: ClassConfusion, out: Path) -> None:
    """Draw what share of each class was taken for which, a row for each class.

    Args:
        confusion: What an evaluator has counted.
        out: The picture.
    """
    from matplotlib.figure import Figure

    shares = share_of_rows(confusion.matrix)
    count = len(shares)
    side = min(4 + 0.35 * count, 24)
    figure = Figure(figsize=(side + 1, side), dpi=100, layout='constrained')
    axes = figure.subplots()
    image = axes.imshow(100 * shares, cmap='Blues', vmin=0, vmax=100)
    figure.colorbar(image, ax=axes, label=f'% of the {confusion.unit} of the class')
    axes.set_xlabel('prediction')
    axes.set_ylabel('ground truth')
    if count <= _WITH_NAMES:
        names = [str(name)[:25] for name in confusion.classes]
        axes.set_xticks(range(count), names, rotation=90)
        axes.set_yticks(range(count), names)
    if count <= _WITH_NUMBERS:
        for (row, column), share in np.ndenumerate(shares):
            if np.isfinite(share):
                colour = 'white' if share > 0.5 else 'black'
                place = dict(ha='center', va='center', color=colour, fontsize=7)
                axes.text(column, row, f'{100 * share:.1f}', **place)
    figure.savefig(out)


def share_of_rows(matrix: np.ndarray) -> np.ndarray:
    """Divide each row by its sum.

    Args:
        matrix: Counts.

    Returns:
        Fractions; NaN in a row without any.

    Examples:
        >>> share_of_rows(np.array([[3, 1], [0, 0]])).tolist()
        [[0.75, 0.25], [nan, nan]]
    """
    with np.errstate(invalid='ignore'):
        return matrix / matrix.sum(axis=1, keepdims=True)
