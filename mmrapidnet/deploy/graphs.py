"""Models as plain functions of one image, which is what the runtimes hold."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from math import log2
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.utils import digit_version
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from mmrapidnet.deploy.segmenters import SegmenterGraph
from mmrapidnet.models.backbones.mobilevig import GraphMixer
from mmrapidnet.utils.errors import UserError

PARTS = ('whole', 'backbone', 'dense')
# Edge of an image, a multiple of every stride, that shows what a model does.
_PROBED = 128
# Lengths of prompts that are free, and what they are traced with.
FREE = {'prompts': 3, 'points': 5}
# The first whose ONNX exporter takes translations of operators.
TORCH = '2.6'


@dataclass(frozen=True)
class Graph:
    """A model as one function of an image.

    Its input is called ``image``: float32, (N, C, H, W), 0 to 255, the channels as
    mmcv reads them (BGR).  What the model's data preprocessor does with it is part
    of the graph.

    Attributes:
        kind: 'backbone', 'classifier', 'segmenter', 'dense', 'detector', 'encoder' or
            'decoder' (the last two of `mmrapidnet.deploy.sam_graphs`).
        module: The function, in evaluation mode; returns a tuple of tensors.
        outputs: Name of each output.
        bound_by: What of it is another computation for another height or width.
            Defaults to None: nothing.
        padded: Whether images are padded inside, to a multiple of some number.
            Defaults to False.
        input: Name of the input, where it is not an image. Defaults to 'image'.
        prompts: Shapes of further inputs by their names, float32; a length that is
            free has a name, of `FREE`. Defaults to none.
    """

    kind: str
    module: nn.Module
    outputs: tuple[str, ...]
    bound_by: str | None = None
    padded: bool = False
    input: str = 'image'
    prompts: dict[str, tuple[int | str, ...]] = field(default_factory=dict, hash=False)

    @property
    def dynamic(self) -> bool:
        """Whether it is the same for every height and width."""
        return self.bound_by is None

    @property
    def batched(self) -> bool:
        """Whether it takes more than one image at once."""
        return self.kind not in ('dense', 'detector', 'decoder')

    def make_prompts(self) -> list[Tensor]:
        """Zeros for each of the further inputs, to trace it with."""
        return [
            torch.zeros([FREE.get(length, length) for length in shape])
            for shape in self.prompts.values()
        ]


class Preprocessing(nn.Module):
    """What a data preprocessor does to a batch of images in testing.

    The order of the channels, mean and standard deviation, then padding on the right
    and below to a multiple of the divisor.

    Args:
        preprocessor: mmengine's, mmdet's, mmseg's or mmpretrain's.

    Raises:
        UserError: If it is of another kind, or mmseg's with padding in testing.

    Shapes: (N, C, H, W) to (N, C, H', W'), each edge rounded up to the divisor.
    """

    def __init__(self, preprocessor: BaseDataPreprocessor) -> None:
        super().__init__()
        self.reverse = _channel_conversion(preprocessor)
        # mmengine's and mmdet's take the first three of more, the others leave them.
        self.takes_three = 'ImgDataPreprocessor' in _kinds(preprocessor)
        self.divisor = _size_divisor(preprocessor)
        self.pad_value = float(getattr(preprocessor, 'pad_value', 0))
        for name in ('mean', 'std'):
            values = getattr(preprocessor, name, None)
            # Whole numbers in a config make them integers, which not all formats mix.
            if values is not None and not values.is_floating_point():
                values = values.float()
            self.register_buffer(name, values)

    def forward(self, image: Tensor) -> Tensor:
        """Prepare images as the model takes them."""
        if self.reverse and (image.shape[1] == 3 or self.takes_three):
            image = torch.cat(image.split(1, dim=1)[2::-1], dim=1)
        if self.mean is not None:
            image = (image - self.mean) / self.std
        if self.divisor > 1:
            height, width = image.shape[2:]
            if torch.jit.is_tracing():
                height, width = int(height), int(width)
            right, below = -width % self.divisor, -height % self.divisor
            image = F.pad(image, (0, right, 0, below), value=self.pad_value)
        return image


def require_torch() -> None:
    """Stop where PyTorch is too old to export; to run what was exported, any will do.

    Raises:
        UserError: If PyTorch is older than `TORCH`.
    """
    if digit_version(torch.__version__) < digit_version(TORCH):
        raise UserError(
            f'exporting needs torch >= {TORCH}, and this is {torch.__version__}: '
            'export with a newer one, which loads the same checkpoint'
        )


def build_graph(model: nn.Module, part: str = 'whole') -> Graph:
    """Make a graph of a model.

    | of | kind | outputs |
    |---|---|---|
    | any model, ``part='backbone'`` | backbone | ``feature<i>`` for each of its
      ``out_indices``: (N, C_i, ceil(H / s_i), ceil(W / s_i)) |
    | mmpretrain's classifier | classifier | ``logits`` (N, classes), no softmax |
    | mmseg's segmentor | segmenter | ``logits`` (N, classes, ceil(H / 4),
      ceil(W / 4)): the decode head's own, not resized |
    | mmdet's detector | detector | ``boxes`` (K, 4) xyxy in pixels of the image,
      ``scores`` (K,), ``labels`` (K,) int64; of one with a mask head ``masks``
      (K, 28, 28), probabilities in the boxes, or ``mask_logits`` (K, H / s, W / s) of
      the whole image, without boxes of SOLOv2 and Mask2Former; of Panoptic FPN
      ``semantic``, logits of stuff |
    | mmdet's detector in two stages, ``part='dense'`` | dense | the neck's maps ``p2``
      to ``p6``, the RPN's ``rpn_cls0`` to ``4`` and ``rpn_reg0`` to ``4`` |

    The last two take one image at a time (N = 1).

    Args:
        model: A model of mmdet, mmseg or mmpretrain in evaluation mode, as a rule
            fused by `mmrapidnet.deploy.fuse`. It is shared, not copied.
        part: 'whole', 'backbone', or 'dense' for a detector without what follows its
            convolutions. Defaults to 'whole'.

    Returns:
        The graph.

    Raises:
        UserError: If the model is in training mode, is of another kind, or has no
            such part, or if PyTorch is older than `TORCH`.
    """
    require_torch()
    name = type(model).__name__
    if part not in PARTS:
        raise UserError(f'unknown part {part!r}: choose one of {", ".join(PARTS)}')
    if model.training:
        raise UserError(f'{name} is in training mode: call its eval() first')
    if part == 'backbone':
        kind, module, outputs = 'backbone', _Backbone(model), _name_features(model)
    elif part == 'dense':
        if not getattr(model, 'with_rpn', False):
            raise UserError(
                'part=dense is what precedes the proposals of a detector in two '
                f'stages; {name} has no RPN: take part=whole or part=backbone'
            )
        kind, module, outputs = 'dense', _Dense(model), _name_dense(model)
    elif hasattr(model, 'with_bbox'):
        module = _Detector(model)
        kind, outputs = 'detector', module.detector.outputs
    elif getattr(model, 'with_decode_head', False):
        kind, module, outputs = 'segmenter', _Segmenter(model), ('logits',)
    elif 'BaseClassifier' in _kinds(model) and model.with_head:
        kind, module, outputs = 'classifier', _Classifier(model), ('logits',)
    else:
        raise UserError(
            f'{name} is neither a classifier, a segmentor nor a detector: only its '
            'backbone can be taken alone (part=backbone)'
        )
    module.eval()
    padded = module.preprocessing.divisor > 1
    return Graph(kind, module, outputs, _find_bound(module), padded)


def _find_bound(module: nn.Module) -> str | None:
    """What of a function of an image is another one for another size."""
    if any(isinstance(m, GraphMixer) for m in module.modules()):
        # It compares each pixel with as many others as the map has rows and columns.
        return GraphMixer.__name__
    convs = (m for m in module.modules() if isinstance(m, nn.Conv2d))
    first = next(convs, None)
    if first is None:
        return None
    image = first.weight.new_zeros(1, first.in_channels, _PROBED, _PROBED)
    with torch.no_grad(), _AdaptivePooling() as pooling:
        try:
            module(image)
        except Exception:  # whatever refuses it, such as a table of positions
            return f'the model, which takes no image of {_PROBED}x{_PROBED},'
    return pooling.found


class _AdaptivePooling(TorchFunctionMode):
    """Finds pooling into a grid, whose windows have the sizes of a single map.

    Attributes:
        found: The first one's name; None if there is none.
    """

    found: str | None = None

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, '__name__', '')
        if name.startswith('adaptive_') and self.found is None:
            size = kwargs['output_size'] if 'output_size' in kwargs else args[1]
            edges = size if isinstance(size, (tuple, list)) else [size]
            if any(edge not in (1, None) for edge in edges):
                self.found = name.removesuffix('_with_indices')
        return func(*args, **kwargs)


def trace(graph: Graph, example: Tensor) -> torch.jit.ScriptModule:
    """Record a graph as TorchScript, which some converters start from.

    Args:
        graph: The graph.
        example: An image, (1, C, H, W), the only size the record is right for.

    Returns:
        The record.
    """
    with warnings.catch_warnings(), torch.no_grad():
        # Those converters know nothing newer.
        warnings.filterwarnings('ignore', r'`torch\.jit\.trace')
        # What becomes a constant is meant to.
        warnings.filterwarnings('ignore', category=torch.jit.TracerWarning)
        # Recording looks at all properties of mmdet's heads, the deprecated ones, too.
        warnings.filterwarnings('ignore', 'DeprecationWarning: ', module='mmdet')
        return torch.jit.trace(
            graph.module, (example, *graph.make_prompts()), check_trace=False
        )


class _Part(nn.Module):
    """Modules of a model, called as there, behind its pre-processing."""

    names: tuple[str, ...] = ()

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.preprocessing = Preprocessing(model.data_preprocessor)
        for name in self.names:
            self.add_module(name, getattr(model, name))


class _Backbone(_Part):
    names = ('backbone',)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.backbone(self.preprocessing(image)))


class _Classifier(_Part):
    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor]:
        return (self.model(self.preprocessing(image), mode='tensor'),)


class _Segmenter(_Part):
    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.segmenter = SegmenterGraph(model)

    def forward(self, image: Tensor) -> tuple[Tensor]:
        return (self.segmenter(self.preprocessing(image)),)


class _Dense(_Part):
    names = ('backbone', 'rpn_head')

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.neck = model.neck if model.with_neck else nn.Identity()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        maps = self.neck(self.backbone(self.preprocessing(image)))
        scores, deltas = self.rpn_head(maps)
        return (*maps, *scores, *deltas)


class _Detector(_Part):
    def __init__(self, model: nn.Module) -> None:
        from mmrapidnet.deploy.detectors import build_detector  # of a newer torch

        super().__init__(model)
        self.detector = build_detector(model)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        height, width = image.shape[2:]
        return tuple(self.detector(self.preprocessing(image), height, width))


def _name_features(model: nn.Module) -> tuple[str, ...]:
    indices = getattr(model.backbone, 'out_indices', None)
    if indices is None:
        raise UserError(
            f'{type(model.backbone).__name__} does not say which feature maps it gives '
            '(out_indices): part=backbone cannot name them'
        )
    indices = (indices,) if isinstance(indices, int) else indices
    return tuple(f'feature{i}' for i in indices)


def _name_dense(model: nn.Module) -> tuple[str, ...]:
    """The maps by the logarithm of their stride, the RPN's by their number."""
    strides = [height for height, _ in model.rpn_head.prior_generator.strides]
    return (
        *(f'p{int(log2(stride))}' for stride in strides),
        *(f'rpn_{of}{i}' for of in ('cls', 'reg') for i in range(len(strides))),
    )


def _kinds(module: nn.Module) -> set[str]:
    return {kind.__name__ for kind in type(module).__mro__}


def _size_divisor(preprocessor: BaseDataPreprocessor) -> int:
    """What the edges of an image are padded to a multiple of, in testing."""
    if 'SegDataPreProcessor' in _kinds(preprocessor):
        return 1  # the fork's has a pad_size_divisor, of training
    return getattr(preprocessor, 'pad_size_divisor', 1)


def _channel_conversion(preprocessor: BaseDataPreprocessor) -> bool:
    """Whether the order of the channels is turned round, as each library says it."""
    kinds = _kinds(preprocessor)
    if 'SegDataPreProcessor' in kinds and preprocessor.test_cfg:
        raise UserError(
            'data_preprocessor.test_cfg pads images in testing, which an exported '
            "segmentor does not: let the pipeline do it (dict(type='Pad', ...))"
        )
    if 'ImgDataPreprocessor' in kinds:  # mmengine's, mmdet's and the fork's mmseg's
        return preprocessor._channel_conversion
    if 'SegDataPreProcessor' in kinds:
        return preprocessor.channel_conversion
    if 'ClsDataPreprocessor' in kinds:
        return preprocessor.to_rgb
    if type(preprocessor) is BaseDataPreprocessor:
        return False
    raise UserError(
        f'{type(preprocessor).__name__} is a data preprocessor that cannot be '
        'exported: take DetDataPreprocessor, SegDataPreProcessor or ClsDataPreprocessor'
    )
