"""mmsegmentation's segmentors as functions of an image, right for every size."""

from __future__ import annotations

from copy import deepcopy

from torch import Tensor, nn

from mmrapidnet.utils.errors import UserError


class SegmenterGraph(nn.Module):
    """The logits of a segmentor, of which its prediction is the largest, resized.

    Args:
        model: mmseg's ``EncoderDecoder`` in evaluation mode. It is copied.

    Raises:
        UserError: If its head predicts in another way, as those with queries do.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        _check_head(model)
        self.model = _upsample_by_factor(model)

    def forward(self, image: Tensor) -> Tensor:
        """Segment images.

        Args:
            image: Images as the data preprocessor gives them, (N, C, H, W).

        Returns:
            Logits as the decode head gives them, (N, classes, H', W').
        """
        return self.model(image, mode='tensor')


def _check_head(model: nn.Module) -> None:
    """Refuse a head whose prediction is not the largest of its logits, resized."""
    from mmseg.models.decode_heads.decode_head import BaseDecodeHead

    head = model.decode_head
    if getattr(type(head), 'predict', None) is not BaseDecodeHead.predict:
        if isinstance(head, nn.ModuleList):
            name = ' and '.join(type(stage).__name__ for stage in head)
        else:
            name = type(head).__name__
        raise UserError(
            f'the {name} of this {type(model).__name__} predicts in a way of its own, '
            'which no exported file does: only the backbone can be taken, to any '
            'format (part=backbone)'
        )


def _upsample_by_factor(model: nn.Module) -> nn.Module:
    """Copy a segmentor, its head enlarging by a factor instead of to a size.

    mmseg computes the size by way of floating-point numbers, which tracing takes for
    constants: the file would be right at a single size, and wrong without an error
    at every other.
    """
    from mmseg.models.utils import Upsample

    model = deepcopy(model)
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Upsample) and child.scale_factor:
                enlarge = nn.Upsample(None, child.scale_factor, child.mode)
                enlarge.align_corners = child.align_corners
                setattr(parent, name, enlarge)
    return model
