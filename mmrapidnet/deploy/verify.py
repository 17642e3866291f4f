"""Compare an exported file with the model it was made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass

import numpy as np
import torch
from rich.table import Table

from mmrapidnet.deploy.graphs import Graph
from mmrapidnet.utils.errors import UserError

Outputs = dict[str, np.ndarray]

# Largest relative difference of an output: the norm of the difference over that of
# PyTorch's output.  In brackets what was seen of a segmenter trained on Shapes.
#   fp32  rounding, in another order (2e-7).  One wrong row of pixels is 1e-2, one
#         wrong value among a million still 1e-3.
#   fp16  11 bits of mantissa, 5e-4 a value (2e-4 with weights alone in fp16).
#   bf16  8 bits, 4e-3 a value (2e-3).
#   int8  8 bits of the range of a channel (2e-2).
# Red and blue exchanged change that segmenter's logits by 0.16 to 0.22, its feature
# maps by 0.4 to 0.8.
TOLERANCES = {'fp32': 1e-4, 'fp16': 1e-2, 'bf16': 3e-2, 'int8': 0.1}

# The same for the disagreement of detections.  Near ties in the
# suppression fall either way, so that a box may come and go even in fp32.
DETECTION_TOLERANCES = {'fp32': 1e-2, 'fp16': 5e-2, 'bf16': 0.1, 'int8': 0.1}
# Of either in int8, if the metric is measured, too: then one image only has to tell
# what is broken.  An RTMDet-Ins that kept its metric differed by 0.13.
MEASURED_INT8 = 0.3


# Outputs that hold a row for each detection.
DETECTIONS = ('boxes', 'scores', 'labels', 'masks', 'mask_logits')


@dataclass(frozen=True)
class Difference:
    """How far one output of a file is from PyTorch's.

    Attributes:
        output: What is compared.
        largest: Largest absolute difference; None where there is no such thing.
        relative: Difference relative to PyTorch's output.
        tolerance: What ``relative`` may be; None if it is only told.
    """

    output: str
    largest: float | None
    relative: float
    tolerance: float | None

    @property
    def is_tolerable(self) -> bool:
        """Whether it is within the tolerance; never so if it is not a number."""
        return self.tolerance is None or self.relative <= self.tolerance


def compare(
    graph: Graph,
    run: Callable[..., Outputs],
    inputs: tuple[np.ndarray, ...],
    precision: str = 'fp32',
    measured: bool = False,
) -> list[Difference]:
    """Run a file and the graph it was made from on one image.

    Args:
        graph: The graph.
        run: From the inputs to the outputs of the file, by name.
        inputs: The image, float32 (1, C, H, W), and prompts.
        precision: That of the file, which says what is tolerable.
        measured: Whether the metric of the file is measured, too, which says more than
            one image. Defaults to False.

    Returns:
        The differences; of detections that are matched, and of all together.

    Raises:
        UserError: If PyTorch detects nothing, which any file would equal.
    """
    with torch.no_grad():
        values = graph.module(*map(torch.from_numpy, inputs))
    expected = {name: value.numpy() for name, value in zip(graph.outputs, values)}
    if graph.kind == 'detector' and not len(expected['scores']):
        raise UserError(
            'the model finds nothing in the image, so there is nothing to compare: is '
            'the checkpoint trained? give another image with --image FILE'
        )
    found = run(*inputs)
    differences, names = [], graph.outputs
    override = {'int8': MEASURED_INT8} if measured else {}
    if graph.kind == 'detector':
        tolerance = (DETECTION_TOLERANCES | override)[precision]
        differences = compare_detections(expected, found, tolerance)
        names = [name for name in names if name not in DETECTIONS]
    tolerance = (TOLERANCES | override)[precision]
    return differences + [
        _compare_arrays(name, expected[name], found[name], tolerance) for name in names
    ]


def compare_detections(
    expected: Outputs, found: Outputs, tolerance: float
) -> list[Difference]:
    """Compare the detections of two runs, in whatever order they come.

    Their disagreement goes from 0 (the same) to 1. It is
    1 - 2 sum(s s' q) / (sum(s^2) + sum(s'^2)) over the pairs of the best matching,
    where s and s' are their scores and q is their similarity, the IoU of boxes times
    that of masks, where there are any; so the sure detections count most.

    Args:
        expected: PyTorch's ``scores``, ``labels`` and, of a detector that has them,
            ``boxes`` and ``masks``, probabilities, or ``mask_logits``.
        found: The file's.
        tolerance: What the disagreement may be.

    Returns:
        Differences of the matched detections, then the disagreement of all.

    Examples:
        >>> one = dict(
        ...     boxes=np.array([[0.0, 0.0, 10.0, 10.0]]),
        ...     scores=np.array([0.5]),
        ...     labels=np.array([3]),
        ...     masks=np.ones((1, 28, 28)),
        ... )
        >>> other = {**one, 'scores': np.array([0.25])}
        >>> [round(float(d.relative), 3) for d in compare_detections(one, other, 0.1)]
        [0.0, 0.5, 0.0, 0.2]
    """
    similarity = _similarity(expected, found)
    # Sums of these, in float32, of the same detections differ by rounding.
    scores, others = (np.float64(each['scores']) for each in (expected, found))
    rows, columns = _match(similarity, scores, others)
    differences = [
        _compare_arrays(name, expected[name][rows], found[name][columns], None)
        for name in DETECTIONS
        if name in expected and name != 'labels'
    ]
    counts = f'{len(rows)} of {len(scores)} matched'
    if len(others) > len(rows):
        counts += f', {len(others) - len(rows)} more'
    shared = (scores[rows] * others[columns] * similarity[rows, columns]).sum()
    total = np.square(scores).sum() + np.square(others).sum()
    disagreement = 1 - 2 * shared / total if total else 0.0
    together = Difference(f'detections ({counts})', None, disagreement, tolerance)
    return [*differences, together]


def make_table(title: str, differences: list[Difference]) -> Table:
    """Lay differences out to be read.

    Args:
        title: Title of the table.
        differences: As `compare` gives them.

    Returns:
        The table, to be printed with rich.
    """
    table = Table('output', 'largest difference', 'relative', 'at most', title=title)
    for column in table.columns[1:]:
        column.justify = 'right'
    for difference in differences:
        output, *numbers = astuple(difference)
        cells = ['' if number is None else f'{number:.1e}' for number in numbers]
        style = None if difference.is_tolerable else 'red'
        table.add_row(output, *cells, style=style)
    return table


def _compare_arrays(
    name: str, expected: np.ndarray, found: np.ndarray, tolerance: float | None
) -> Difference:
    if expected.shape != found.shape:
        shapes = f'{name}: {found.shape} instead of {expected.shape}'
        return Difference(shapes, None, float('inf'), tolerance)
    expected = expected.astype(np.float64)
    difference = found - expected
    norm = np.linalg.norm(expected)
    relative = np.linalg.norm(difference) / norm if norm else np.abs(difference).sum()
    return Difference(name, np.abs(difference).max(initial=0), relative, tolerance)


def _similarity(expected: Outputs, found: Outputs) -> np.ndarray:
    """Overlap of any boxes times that of any masks, (K, L); 0 for another label."""
    overlap = np.float64(expected['labels'][:, None] == found['labels'][None])
    if 'boxes' in expected:
        overlap *= _overlap_boxes(expected['boxes'][:, None], found['boxes'][None])
    those, these = _masks(expected), _masks(found)
    if those is None:
        return overlap
    for row, column in zip(*np.nonzero(overlap)):
        masks = those[row], these[column]
        union = np.maximum(*masks).sum()
        overlap[row, column] *= np.minimum(*masks).sum() / union if union else 1
    return overlap


def _overlap_boxes(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(
        one[..., :2], other[..., :2]
    )
    shared = sides.clip(min=0).prod(axis=2)
    areas = [(b[..., 2:] - b[..., :2]).prod(axis=2) for b in (one, other)]
    return shared / np.maximum(areas[0] + areas[1] - shared, 1e-9)


def _masks(outputs: Outputs) -> np.ndarray | None:
    """The probabilities of the masks, if there are any."""
    if 'mask_logits' in outputs:
        from scipy.special import expit

        return expit(outputs['mask_logits'])
    return outputs.get('masks')


def _match(
    similarity: np.ndarray, scores: np.ndarray, others: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pair detections so that the weighted similarity of all pairs is largest."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(
        scores[:, None] * others[None] * similarity, maximize=True
    )
    alike = similarity[rows, columns] >= 0.5
    return rows[alike], columns[alike]
