"""The published classification models by name, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass

from mmengine.registry import MODELS
from torch import Tensor, nn

from mmrapidnet.apis.complexity import count_macs, count_parameters
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


def measure(module: nn.Module, size: tuple[int, int] = (224, 224)) -> Complexity:
    """Count what a module costs.

    Args:
        module: A module that takes images of three channels.
        size: Height and width of the image in pixels. Defaults to (224, 224).

    Returns:
        Its parameters and multiply-accumulates.
    """
    return Complexity(count_parameters(module), count_macs(module, size))


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
