"""Mask2Former on plain tensors: queries, each of which finds a mask and its classes.

mmdet's pixel decoder and its encoding of positions take sizes for tensors and sums of
pixels, which no exporter can follow where the size is free; the rest of the head is
mmdet's own.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch
from mmengine.config import ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from mmrapidnet.deploy.detectors.shared import check_parts
from mmrapidnet.deploy.ops import top
from mmrapidnet.utils.errors import UserError

Size = tuple[int, int]

_PARTS = {
    'panoptic_head': ('Mask2FormerHead',),
    'panoptic_head.pixel_decoder': ('MSDeformAttnPixelDecoder',),
    'panoptic_fusion_head': ('MaskFormerFusionHead',),
}
# Of an image that is padded to another number mmdet enlarges the masks by no stride.
_OPTIONS = {'data_preprocessor.pad_size_divisor': (32, 64, 128)}


class Mask2FormerGraph(nn.Module):
    """Mask2Former (Cheng et al., 2021, arXiv:2112.01527) for instances, on tensors.

    Gives what mmdet's prediction has before it enlarges the masks: how sure these are,
    which the final scores are multiplied with, mmdet reads off the enlarged ones.

    Args:
        model: mmdet's ``Mask2Former`` in evaluation mode. Its head is copied.

    Raises:
        UserError: If a part or an option of the model is another than is written out
            here, such as the panoptic prediction.

    Attributes:
        outputs: Names of what it gives.
        settings: ``query_stride``, that of the logits, see
            `mmrapidnet.deploy.image_masks.finish_queries`.
    """

    outputs = ('scores', 'labels', 'mask_logits')
    settings: dict[str, Any]

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        check_parts(model, _PARTS, _OPTIONS)
        cfg = model.panoptic_fusion_head.test_cfg
        _check_task(cfg)
        self.backbone = model.backbone
        self.neck = model.neck if model.with_neck else nn.Identity()
        self.head = deepcopy(model.panoptic_head)
        self.head.pixel_decoder = _PixelDecoder(self.head.pixel_decoder)
        self.head.decoder_positional_encoding = _Positions(
            self.head.decoder_positional_encoding
        )
        self.limit = cfg.get('max_per_image', 100)
        self.settings = {'query_stride': model.panoptic_head.pixel_decoder.strides[0]}

    def forward(
        self, image: Tensor, height: int, width: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Segment the objects in an image.

        Args:
            image: One image, normalised and padded on the right and below,
                (1, 3, H, W).
            height: Height of the image without the padding; of no use here.
            width: Width of the image without the padding; of no use here.

        Returns:
            By descending score: scores of the classes, (K,); labels, (K,), int64;
            logits of the masks of the padded image, (K, H / stride, W / stride). K may
            be 0 only if the model has stuff, which is left out.
        """
        classes, masks = self.head(self.neck(self.backbone(image)), None)
        scores = classes[-1][0].softmax(dim=1)[:, :-1]
        best = top(scores.flatten(), self.limit)
        label = best % self.head.num_classes
        if self.head.num_stuff_classes:
            things = (label < self.head.num_things_classes).nonzero()[:, 0]
            best, label = best[things], label[things]
        return (
            scores.flatten()[best],
            label,
            masks[-1][0][best // self.head.num_classes],
        )


class _PixelDecoder(nn.Module):
    """mmdet's ``MSDeformAttnPixelDecoder``, its sizes numbers instead of tensors."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder
        self.encode_positions = _Positions(decoder.postional_encoding)

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, list[Tensor]]:
        """Features of the masks, and those that the queries look at, coarse to fine."""
        decoder = self.decoder
        coarse = maps[: -decoder.num_encoder_levels - 1 : -1]
        encoded = self._encode(coarse)
        fine = maps[: -decoder.num_encoder_levels][::-1]
        for x, lateral, output in zip(
            fine, decoder.lateral_convs, decoder.output_convs
        ):
            x = lateral(x)
            larger = F.interpolate(encoded[-1], x.shape[2:], mode='bilinear')
            encoded.append(output(x + larger))
        return decoder.mask_feature(encoded[-1]), encoded[: decoder.num_outs]

    def _encode(self, maps: tuple[Tensor, ...]) -> list[Tensor]:
        """Let all pixels of all maps look at some others."""
        decoder = self.decoder
        sizes = [x.shape[2:] for x in maps]
        values = [conv(x) for conv, x in zip(decoder.input_convs, maps)]
        positions = [
            self.encode_positions(x[:, 0]) + level[:, None, None]
            for x, level in zip(maps, decoder.level_encoding.weight)
        ]
        query, position = (_lay_out(each) for each in (values, positions))
        place = torch.cat([_places(x) for x in maps])
        edges = torch.stack([_edges(x) for x in maps])
        for layer in decoder.encoder.layers:
            query = _attend(layer.self_attn, query, position, place, edges, sizes)
            query = layer.norms[1](layer.ffn(layer.norms[0](query)))
        parts = query.split([h * w for h, w in sizes], dim=1)
        return [
            part.transpose(1, 2).unflatten(2, size) for part, size in zip(parts, sizes)
        ]


class _Positions(nn.Module):
    """mmdet's ``SinePositionalEncoding`` of an image without padding.

    Theirs counts pixels by sums, and takes the last for the length, of which nothing is
    known where the size is free.
    """

    def __init__(self, encoding: nn.Module) -> None:
        super().__init__()
        self.encoding = encoding

    def forward(self, image: Tensor) -> Tensor:
        """Channels for rows and columns, (1, C, H, W), of the size of (1, H, W)."""
        height, width = image.shape[1:]
        down, across = (self._encode(edge) for edge in (height, width))
        down = down[:, :, None].expand(-1, -1, width)
        return torch.cat([down, across[:, None].expand(-1, height, -1)])[None]

    def _encode(self, length: int) -> Tensor:
        """Sines and cosines of the places along an edge, (C / 2, length)."""
        theirs = self.encoding
        place = torch.arange(1, length + 1, dtype=torch.float32)
        if theirs.normalize:
            edge = torch.full_like(place, length)
            place = (place + theirs.offset) / (edge + theirs.eps) * theirs.scale
        number = torch.arange(theirs.num_feats, dtype=torch.float32)
        period = theirs.temperature ** (2 * (number // 2) / theirs.num_feats)
        angle = place / period[:, None]
        return torch.stack([angle[::2].sin(), angle[1::2].cos()], dim=1).flatten(0, 1)


def _check_task(cfg: ConfigDict) -> None:
    """Refuse a model that is tested on anything but instances."""
    if cfg.get('panoptic_on', True) or not cfg.get('instance_on', False):
        raise UserError(
            'an exported Mask2Former gives instances alone: set '
            'model.test_cfg.panoptic_on=False and model.test_cfg.instance_on=True in '
            'the config, or export its backbone (part=backbone), to any format'
        )


def _attend(
    attention: nn.Module,
    query: Tensor,
    position: Tensor,
    place: Tensor,
    edges: Tensor,
    sizes: list[Size],
) -> Tensor:
    """Do as mmcv's ``MultiScaleDeformableAttention``; every pixel is a query.

    Args:
        attention: It.
        query: (1, pixels, C).
        position: Their encoded position, (1, pixels, C).
        place: Where they are in the image, x and y from 0 to 1, (pixels, 2).
        edges: Width and height of each map, (levels, 2).
        sizes: Height and width of each map.

    Returns:
        (1, pixels, C).
    """
    asked = query + position
    shape = (attention.num_heads, attention.num_levels, attention.num_points)
    offsets = attention.sampling_offsets(asked).unflatten(2, (*shape, 2))
    weights = attention.attention_weights(asked).unflatten(2, (shape[0], -1))
    weights = weights.softmax(dim=3).unflatten(3, shape[1:])
    places = place[:, None, None, None] + offsets / edges[:, None]
    value = attention.value_proj(query).unflatten(2, (shape[0], -1))
    found = multi_scale_deformable_attn_pytorch(value, sizes, places, weights)
    return attention.output_proj(found) + query


def _lay_out(maps: list[Tensor]) -> Tensor:
    """Pixels of all maps, (1, pixels, C)."""
    return torch.cat([x.flatten(2) for x in maps], dim=2).transpose(1, 2)


def _edges(x: Tensor) -> Tensor:
    """Width and height of a map, (2,)."""
    height, width = x.shape[2:]
    # As tensors: an edge that is free is no number to divide by in ONNX.
    return torch.cat([x.new_full((1,), width), x.new_full((1,), height)])


def _places(x: Tensor) -> Tensor:
    """Where the pixels of a map are, x and y from 0 to 1, (pixels, 2)."""
    height, width = x.shape[2:]
    across = torch.arange(width, device=x.device) + 0.5
    down = torch.arange(height, device=x.device) + 0.5
    down, across = torch.meshgrid(down, across, indexing='ij')
    return torch.stack([across, down], dim=2).flatten(0, 1) / _edges(x)
