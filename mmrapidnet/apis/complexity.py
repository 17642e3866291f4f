"""Parameters and multiply-accumulates, counted as the papers count them."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmrapidnet.utils.errors import UserError

# Family: its backbone, and its archs with the width between pooling and classifiers
# (None where the classifiers follow the pooling).
_FAMILIES = {
    'rapidnet': ('RapidNet', dict(ti=512, s=512, m=512, b=768)),
    'mobilevig': ('MobileViG', dict(ti=512, s=512, m=768, b=768)),
    'repvit': (
        'RepViT',
        dict.fromkeys(('m0_6', 'm0_9', 'm1_0', 'm1_1', 'm1_5', 'm2_3')),
    ),
}
# The published classification models: 'rapidnet_ti', ..., 'repvit_m2_3'.
MODEL_NAMES = tuple(
    f'{family}_{arch}' for family, (_, archs) in _FAMILIES.items() for arch in archs
)


# Operators of PyTorch's own that cost something and have no count: no figure is given
# of what calls them.
_UNCOUNTED = {
    'aten::_native_multi_head_attention',
    'aten::_transformer_encoder_layer_fwd',
    'aten::cdist',
    'aten::gru',
    'aten::lstm',
}


@dataclass(frozen=True)
class Complexity:
    """What a model costs.

    Attributes:
        params: Number of parameters.
        macs: Multiply-accumulates for one image, None if they cannot be counted.
    """

    params: int
    macs: int | None


class Classifier(nn.Module):
    """A backbone and the classification layer on its last feature map.

    Args:
        backbone: From images to a tuple of feature maps.
        classifier: From the last feature map to logits.
    """

    def __init__(self, backbone: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """From images (N, 3, H, W) to logits, (N, num_classes)."""
        return self.classifier(self.backbone(x)[-1])


def count_parameters(module: nn.Module) -> int:
    """Count the parameters of a module, trained or frozen.

    Args:
        module: Any module.

    Returns:
        Their number.

    Example:
        >>> count_parameters(nn.Conv2d(3, 8, 3))
        224
    """
    return sum(parameter.numel() for parameter in module.parameters())


def count_macs(
    module: nn.Module, size: tuple[int, int], in_channels: int = 3
) -> int | None:
    """Count the multiply-accumulates of a module for one image, in evaluation.

    As the papers' figures: convolutions, linear layers, products of matrices (those of
    attention included), two for each element of a batch normalisation, one for each
    element that is averaged and four for each that is interpolated; activations, sums
    and copies are free.

    Args:
        module: A module that takes images; it is left as it is.
        size: Height and width of the image in pixels.
        in_channels: Channels of the image. Defaults to 3.

    Returns:
        Their number.  None if the module calls an operator that is not PyTorch's
        own, such as mmcv's deformable convolution: nobody has said what its
        sampling is to count, and to leave it out would be wrong.

    Example:
        >>> count_macs(nn.Conv2d(3, 8, 3, padding=1, bias=False), size=(10, 20))
        43200
    """
    module = deepcopy(module).eval()
    device = next(module.parameters()).device
    image = torch.zeros(1, in_channels, *size, device=device)
    counter = analyze(module, image)
    return None if list_uncounted(counter) else int(counter.total())


def analyze(module: nn.Module, image: Tensor) -> FlopAnalyzer:
    """Run a module once and count what each part of it computes.

    Args:
        module: The module, in evaluation mode.
        image: What it is given, (1, C, H, W).

    Returns:
        The counts, see `mmengine.analysis.FlopAnalyzer`.
    """
    counter = FlopAnalyzer(module, (image,))
    counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    counter.set_op_handle(
        'aten::scaled_dot_product_attention', _count_attention
    ).set_op_handle('aten::baddbmm', _count_baddbmm)
    with torch.no_grad():
        counter.total()
    return counter


def list_uncounted(counter: FlopAnalyzer, part: str = '') -> list[str]:
    """List the operators that cost something and are not counted.

    Args:
        counter: What `analyze` gave.
        part: The name of a module in the one that was counted. Defaults to '': all.

    Returns:
        Their names, of PyTorch's own only those that are not free.
    """
    return sorted(
        operator
        for operator in counter.unsupported_ops(part)
        if operator in _UNCOUNTED or not operator.startswith('aten::')
    )


def _count_attention(inputs: list[Any], outputs: list[Any]) -> int:
    """Two products of matrices: queries and keys, and their weights and the values."""
    queries, keys, values = (value.type().sizes() for value in inputs[:3])
    return prod(queries[:-1]) * keys[-2] * (queries[-1] + values[-1])


def _count_baddbmm(inputs: list[Any], outputs: list[Any]) -> int:
    """A product of matrices, to which another one is added."""
    first, second = (value.type().sizes() for value in inputs[1:3])
    return prod(first) * second[-1]


def measure(module: nn.Module, size: tuple[int, int] = (224, 224)) -> Complexity:
    """Count what a module costs.

    Args:
        module: A module that takes images of three channels.
        size: Height and width of the image in pixels. Defaults to (224, 224).

    Returns:
        Its parameters and multiply-accumulates.
    """
    return Complexity(count_parameters(module), count_macs(module, size))


def measure_classifier(
    name: str, size: tuple[int, int] = (224, 224)
) -> tuple[Complexity, Complexity]:
    """Count what a published model costs, unfused.

    Args:
        name: One of `MODEL_NAMES`, such as 'rapidnet_ti'.
        size: Height and width of the image in pixels. Defaults to (224, 224).

    Returns:
        The backbone alone, and with both classifiers of 1000 classes.

    Raises:
        UserError: If there is no such model.
    """
    model = build_classifier(name)
    return measure(model.backbone, size), measure(model, size)


def build_classifier(name: str, num_classes: int = 1000) -> Classifier:
    """Build a published classification model, with random weights.

    Args:
        name: One of `MODEL_NAMES`, such as 'rapidnet_ti'.
        num_classes: Number of classes. Defaults to ImageNet's 1000.

    Returns:
        The model: ``backbone``, and ``classifier`` with a class and a distillation
        output.

    Raises:
        UserError: If there is no such model.
    """
    if name not in MODEL_NAMES:
        raise UserError(
            f"unknown model '{name}': choose one of {', '.join(MODEL_NAMES)}"
        )
    family, arch = name.split('_', 1)
    kind, hidden_channels = _FAMILIES[family]
    backbone = MODELS.build(dict(type=kind, arch=arch, out_indices=(3,)))
    top = dict(in_channels=backbone.out_channels[-1], num_classes=num_classes)
    if hidden_channels[arch] is None:
        top.update(type='DistilledLinearClassifier')
    else:
        top.update(type='DistilledClassifier', hidden_channels=hidden_channels[arch])
    return Classifier(backbone, MODELS.build(top))
