"""What an exported file may differ from PyTorch by."""

import numpy as np
import pytest

from mmrapidnet.deploy import verify
from mmrapidnet.deploy.graphs import Graph


def test_no_precision_is_tolerated_more_than_int8():
    for tolerances in (verify.TOLERANCES, verify.DETECTION_TOLERANCES):
        assert list(tolerances) == ['fp32', 'fp16', 'bf16', 'int8']
        assert sorted(tolerances.values()) == list(tolerances.values())


@pytest.mark.parametrize(
    ('factor', 'precision', 'measured', 'tolerated'),
    [
        (1.09, 'int8', False, True),
        (1.2, 'int8', False, False),
        (1.2, 'int8', True, True),
        (1.2, 'bf16', True, False),
        (1.4, 'int8', True, False),
    ],
)
def test_int8_may_differ_more_if_its_metric_is_measured(
    factor, precision, measured, tolerated
):
    graph = Graph('segmenter', lambda image: (image,), ('logits',))
    image = np.ones((1, 3, 2, 2), np.float32)
    (difference,) = verify.compare(
        graph, lambda image: {'logits': factor * image}, (image,), precision, measured
    )
    assert difference.relative == pytest.approx(factor - 1)
    assert difference.is_tolerable == tolerated
