"""Networks of OpenVINO quantised to int8 after training, by NNCF."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence, Sized
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import openvino

from mmrapidnet.deploy.accuracy_control import AccuracyControl
from mmrapidnet.deploy.formats import needs_extra, require_calibration
from mmrapidnet.utils.errors import UserError

# Images by which the layers are ranked that cost a metric most: the ones on which most
# is lost. Every layer is ranked by a test on all of them.
RANKED = 30


def quantize(
    model: openvino.Model, calibration: Iterable[np.ndarray] | None
) -> openvino.Model:
    """Quantise to int8 after training, ranges of activations need not be symmetric.

    Ranges reach to the extremes of all images. With the mean of each image's extremes,
    NNCF's default, 7 of 720 predictions of a classifier of Shapes changed; so does 1.

    Weights have 7 bits in every layer but depthwise convolutions, not in the first
    alone: processors without VNNI add two products in 16 bits, which products of 8 and
    8 bits can exceed. Of a small segmenter the difference from float was twice as large
    on them.

    Args:
        model: The network.
        calibration: Images, float32 (1, C, H, W).

    Returns:
        The quantised network.

    Raises:
        UserError: If there are no images.
    """
    with _quiet_nncf() as nncf:
        images = require_calibration(calibration)  # NNCF reads them several times
        return nncf.quantize(
            model,
            nncf.Dataset(images),
            advanced_parameters=_make_parameters(nncf),
            **_common(nncf, images),
        )


def quantize_controlled(
    model: openvino.Model,
    calibration: Iterable[np.ndarray] | None,
    outputs: Sequence[str],
    control: AccuracyControl,
) -> tuple[openvino.Model, dict[str, Any]]:
    """Quantise to int8, but for the layers whose 8 bits cost a metric too much.

    They are found by NNCF's ``quantize_with_accuracy_control``: as long as more than
    allowed is lost, the layer that costs most gets its float numbers back.

    Args:
        model: The network, for images of one size: see
            `mmrapidnet.deploy.formats.openvino.Session`.
        calibration: Images, float32 (1, C, H, W).
        outputs: Names of the outputs.
        control: The metric.

    Returns:
        The quantised network, and for the file's metadata ``max_drop``, ``images``,
        ``float`` and ``int8`` (the metric of both), and ``ignored`` (names of the
        layers that are not quantised).

    Raises:
        UserError: If there are no images, or it loses more whatever is left in float.
    """
    validation, every = _Validation(outputs, control), range(control.images)
    with _quiet_nncf() as nncf, tempfile.TemporaryDirectory() as folder:
        images = require_calibration(calibration)
        quantized = nncf.quantize_with_accuracy_control(
            model,
            nncf.Dataset(images),
            nncf.Dataset(every),
            validation,
            max_drop=control.max_drop,
            advanced_quantization_parameters=_make_parameters(nncf),
            advanced_accuracy_restorer_parameters=(
                nncf.AdvancedAccuracyRestorerParameters(
                    ranking_subset_size=RANKED, intermediate_model_dir=folder
                )
            ),
            **_common(nncf, images),
        )
        ignored = _list_quantized(_read_uncontrolled(folder))
        ignored -= _list_quantized(quantized)
        options = {'INFERENCE_PRECISION_HINT': 'f32'}
        validation(openvino.compile_model(quantized, 'CPU', options), every)
    return quantized, validation.conclude(ignored)


class _Validation:
    """Measures networks as NNCF asks for it, and notes their metric on all images."""

    def __init__(self, outputs: Sequence[str], control: AccuracyControl) -> None:
        self._outputs, self._control = outputs, control
        self._found: list[float] = []

    def __call__(
        self, network: openvino.CompiledModel, numbers: Iterable[int]
    ) -> float:
        def run(image: np.ndarray) -> dict[str, np.ndarray]:
            values = network([image]).values()
            return dict(zip(self._outputs, values, strict=True))

        numbers = list(numbers)
        metric = self._control.measure(run, numbers)
        if len(numbers) == self._control.images:
            self._found.append(metric)
        return metric

    def conclude(self, ignored: set[str]) -> dict[str, Any]:
        """Say what was found, if the network measured last loses no more than allowed.

        The first one was the original.
        """
        (original, *_, reached), most = self._found, self._control.max_drop
        if original - reached > most:
            raise UserError(
                f'int8 loses {original - reached:.2f} points of the metric, with '
                f'{len(ignored)} layers left in float, where {most} are allowed: take '
                'another precision'
            )
        return {
            'max_drop': most,
            'images': self._control.images,
            'float': original,
            'int8': reached,
            'ignored': sorted(ignored),
        }


@contextlib.contextmanager
def _quiet_nncf() -> Iterator[ModuleType]:
    """NNCF, without its advice and progress bars."""
    with needs_extra('openvino'):
        import nncf

    nncf.set_log_level(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):
        yield nncf


def _common(nncf: ModuleType, images: Sized) -> dict[str, Any]:
    return dict(preset=nncf.QuantizationPreset.MIXED, subset_size=len(images))


def _make_parameters(nncf: ModuleType) -> Any:
    from nncf.quantization.advanced_parameters import OverflowFix
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    return nncf.AdvancedQuantizationParameters(
        overflow_fix=OverflowFix.ENABLE,
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
    )


def _read_uncontrolled(folder: str) -> openvino.Model:
    """What NNCF kept there: all layers quantised that can be."""
    return openvino.Core().read_model(Path(folder) / 'intermediate_model.xml')


def _list_quantized(model: openvino.Model) -> set[str]:
    """Names of the layers that take quantised activations."""
    return {
        target.get_node().get_friendly_name()
        for node in model.get_ops()
        if node.get_type_name() == 'FakeQuantize'
        and node.input_value(0).get_node().get_type_name() != 'Constant'
        for target in node.output(0).get_target_inputs()
    }
