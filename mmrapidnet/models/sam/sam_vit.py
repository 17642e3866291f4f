"""The image encoders of SAM itself, vision transformers, as a backbone."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmrapidnet.models.sam.segment_anything import import_package
from mmrapidnet.utils.errors import UserError

# Ours of the names in the published files.
_RENAMED = {
    'image_encoder.neck.0.': 'neck.lateral_convs.0.',
    'image_encoder.neck.1.': 'neck.lateral_norm.',
    'image_encoder.neck.2.': 'neck.conv.',
    'image_encoder.neck.3.': 'neck.norm.',
    'image_encoder.': 'backbone.',
}


@MODELS.register_module()
class SAMViT(BaseModule):
    """The ViT of SAM (arXiv 2304.02643), without its neck, which is `SAMNeck`.

    Its blocks are those of the package ``segment-anything``: windows of 14 x 14
    patches, but for four blocks that see the whole image, and relative positions.

    Args:
        arch: 'b', 'l' or 'h', or a dict of ``embed_dim``, ``depth``, ``num_heads`` and
            ``global_attn_indexes``. Defaults to 'h'.
        image_size: Height and width of the images, which the positions are for.
            Defaults to 1024.
        init_cfg: Initialisation. Defaults to None: that of the package.

    Raises:
        UserError: If there is no such arch, or ``segment-anything`` is not installed.

    Examples:
        >>> import torch
        >>> tiny = dict(embed_dim=8, depth=2, num_heads=2, global_attn_indexes=[1])
        >>> (features,) = SAMViT(tiny, image_size=64)(torch.zeros(1, 3, 64, 64))
        >>> features.shape
        torch.Size([1, 8, 4, 4])
    """

    arch_settings: ClassVar[dict[str, dict[str, Any]]] = {
        'b': dict(
            embed_dim=768,
            depth=12,
            num_heads=12,
            global_attn_indexes=[2, 5, 8, 11],
        ),
        'l': dict(
            embed_dim=1024,
            depth=24,
            num_heads=16,
            global_attn_indexes=[5, 11, 17, 23],
        ),
        'h': dict(
            embed_dim=1280,
            depth=32,
            num_heads=16,
            global_attn_indexes=[7, 15, 23, 31],
        ),
    }

    def __init__(
        self,
        arch: str | dict[str, Any] = 'h',
        image_size: int = 1024,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if isinstance(arch, str):
            if arch not in self.arch_settings:
                raise UserError(
                    f"arch='{arch}' of SAMViT: choose one of "
                    f'{", ".join(self.arch_settings)}, or give a dict'
                )
            arch = self.arch_settings[arch]
        modeling, _ = import_package()
        encoder = modeling.ImageEncoderViT(
            **arch,
            img_size=image_size,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=14,
        )
        self.patch_embed = encoder.patch_embed
        self.pos_embed = encoder.pos_embed
        self.blocks = encoder.blocks

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Compute the feature map, of stride 16.

        Args:
            images: (N, 3, image_size, image_size).

        Returns:
            The only feature map, (N, embed_dim, image_size / 16, image_size / 16).
        """
        x = self.patch_embed(images) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return (x.permute(0, 3, 1, 2),)


def rename_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights of SAM's own files the names of a `SegmentAnything`.

    Args:
        state: Such as ``sam_vit_h_4b8939.pth`` holds it, or any other.

    Returns:
        The same tensors; what has none of the published names keeps its own.

    Examples:
        >>> list(rename_published({'image_encoder.neck.2.weight': 0, 'a': 1}))
        ['neck.conv.weight', 'a']
    """
    return {_rename(name): value for name, value in state.items()}


def _rename(name: str) -> str:
    for theirs, ours in _RENAMED.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name
