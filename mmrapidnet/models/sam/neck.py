"""The neck of a SAM image encoder: from features of a backbone to the embedding."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mmrapidnet.utils.errors import UserError


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel.

    Args:
        num_channels: C.
        eps: Added to the variance. Defaults to 1e-6, as SAM has it.

    Shapes: (N, C, H, W) to the same.
    """

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__(num_channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """From (N, C, H, W) to the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@MODELS.register_module()
class SAMNeck(BaseModule):
    """1x1 conv, LayerNorm, 3x3 conv, LayerNorm: the neck of SAM's image encoders.

    As in SAM (arXiv 2304.02643, appendix A) and RepViT-SAM (arXiv 2312.05760), which
    give it the last feature map of a backbone that stays at stride 16.  A backbone
    whose last stage halves the resolution gives its maps of stride 16 and 32 instead:
    each goes through a 1x1 convolution of its own, the coarser ones are enlarged
    (bilinear) to the first, and their sum is what the first LayerNorm sees.

    Args:
        in_channels: Channels of each feature map, one number or several; the first
            map gives the resolution.
        out_channels: Channels of the embedding. Defaults to 256.
        init_cfg: Initialisation. Defaults to None: that of PyTorch.

    Raises:
        UserError: If there is no feature map.

    Examples:
        >>> import torch
        >>> neck = SAMNeck(in_channels=[112, 224])
        >>> features = torch.zeros(1, 112, 8, 8), torch.zeros(1, 224, 4, 4)
        >>> neck(features).shape
        torch.Size([1, 256, 8, 8])
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        out_channels: int = 256,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if isinstance(in_channels, int):
            in_channels = (in_channels,)
        if not in_channels:
            raise UserError('in_channels of SAMNeck is empty: give one per feature map')
        self.out_channels = out_channels
        self.lateral_convs = nn.ModuleList(
            nn.Conv2d(channels, out_channels, 1, bias=False) for channels in in_channels
        )
        self.lateral_norm = LayerNorm2d(out_channels)
        self.conv = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm = LayerNorm2d(out_channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Compute the image embedding.

        Args:
            features: One (N, C_i, H_i, W_i) for each of ``in_channels``.

        Returns:
            (N, out_channels, H_0, W_0).
        """
        first, *coarser = (
            conv(feature)
            for conv, feature in zip(self.lateral_convs, features, strict=True)
        )
        x = first
        for lateral in coarser:
            x = x + interpolate(lateral, first.shape[-2:], mode='bilinear')
        return self.norm(self.conv(self.lateral_norm(x)))
