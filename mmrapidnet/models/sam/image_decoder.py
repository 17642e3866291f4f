"""SAM's mask decoder for many prompts of one image: what they share, computed once.

It computes what the mask decoder and the two-way transformer of ``segment-anything``
do, with their weights, in another order.  A prompt has about seven tokens, an image of
1,024 pixels 4,096 places, and nearly all of the decoder's time goes into linear layers
over the places of every prompt.  So

- in the first layer all prompts see the same image, unless they have masks: its
  projections are computed once per image;
- later, the projections move to the tokens: for a query q and a place x,
  ``q . (W x + b)`` is ``(W^T q) . x`` and a number that is the same for all places, and
  a mean of ``W x + b`` is ``W`` of the mean of x, and b;
- transposed convolutions whose stride is their kernel are products with a matrix.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    layer_norm,
    linear,
    pixel_shuffle,
    scaled_dot_product_attention,
)

if TYPE_CHECKING:
    from segment_anything.modeling import MaskDecoder, PromptEncoder
    from segment_anything.modeling.transformer import Attention, TwoWayAttentionBlock

# Prompts at a time for each thread: what is between two layers stays in its cache.
CHUNK = 4


class ImageDecoder:
    """Gives the masks of prompts on one image, or on one image each.

    Args:
        prompt_encoder: SAM's.
        mask_decoder: SAM's.
        embedding: The image's, (1, C, h, w); or, as in training, those of the images
            of B prompts, (B, C, h, w).
        dense: What is added to it for prompts without masks of their own, (1, C, h, w)
            or (1, C, 1, 1). Defaults to None: what SAM has learned for no mask.
    """

    def __init__(
        self,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        embedding: Tensor,
        dense: Tensor | None = None,
    ) -> None:
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.embedding = embedding
        self.position = _to_rows(prompt_encoder.get_dense_pe())
        if dense is None:
            dense = prompt_encoder.no_mask_embed.weight[..., None, None]
        self.image = _SharedImage(
            mask_decoder.transformer.layers[0],
            _to_rows(embedding + dense),
            self.position,
        )

    def __call__(
        self,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        multimask_output: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Predict the masks of B prompts; points, boxes or masks are to be given.

        Args:
            points: (B, N, 2), x and y in pixels of the encoder's input.
            labels: (B, N): 1 for a point of the object, 0 for one outside of it, -1
                for none.
            boxes: (B, 4), x1, y1, x2, y2.
            masks: Logits of masks, (B, 1, 4 h, 4 w).
            multimask_output: Whether to give three masks of each prompt, such as a
                part and the whole, or one. Defaults to True.

        Returns:
            The logits of the masks, (B, 3 or 1, 4 h, 4 w), and the IoU that the model
            expects of each, (B, 3 or 1).
        """
        prompts = (points, labels, boxes, masks)
        count = next(len(prompt) for prompt in prompts if prompt is not None)
        one_image = len(self.embedding) == 1
        step = CHUNK * torch.get_num_threads() if one_image else count
        chunks = [
            self._predict(
                *(None if p is None else p[first : first + step] for p in prompts),
                multimask_output,
            )
            for first in range(0, max(count, 1), step)
        ]
        logits, ious = zip(*chunks)
        return torch.cat(logits), torch.cat(ious)

    def _predict(
        self,
        points: Tensor | None,
        labels: Tensor | None,
        boxes: Tensor | None,
        masks: Tensor | None,
        multimask_output: bool,
    ) -> tuple[Tensor, Tensor]:
        sparse, dense = self.prompt_encoder(
            points=None if points is None else (points, labels),
            boxes=boxes,
            masks=masks,
        )
        pixels = None if masks is None else _to_rows(self.embedding + dense)
        chosen = slice(1, None) if multimask_output else slice(0, 1)
        return self.decode(sparse, pixels, chosen)

    def decode(
        self,
        sparse: Tensor,
        pixels: Tensor | None = None,
        chosen: slice = slice(None),
    ) -> tuple[Tensor, Tensor]:
        """Predict the masks of B embedded prompts.

        Args:
            sparse: Their points, (B, N, C).
            pixels: The image as each sees it, (B, h w, C). Defaults to None: as all
                without masks do.
            chosen: Which masks to give. Defaults to all of a prompt: the one, then
                the three.

        Returns:
            The logits of the masks, (B, M, 4 h, 4 w), and the IoU that the model
            expects of each, (B, M).
        """
        decoder = self.mask_decoder
        outputs = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        outputs = outputs.expand(sparse.shape[0], -1, -1)  # len() would be a constant
        tokens, pixels = self._transform(torch.cat([outputs, sparse], dim=1), pixels)
        numbers = range(decoder.num_mask_tokens)[chosen]
        kernels = torch.stack(
            [decoder.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in numbers],
            dim=1,
        )
        ious = decoder.iou_prediction_head(tokens[:, 0])[:, chosen]
        return self._draw(kernels, pixels), ious

    def _transform(
        self, tokens: Tensor, pixels: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The two-way transformer.

        Args:
            tokens: (B, N, C).
            pixels: (B, h w, C); None for those that all prompts share.

        Returns:
            Both, after it.
        """
        transformer = self.mask_decoder.transformer
        queries = tokens
        for layer in transformer.layers:
            if layer.skip_first_layer_pe:
                queries = _attend(layer.self_attn, queries, queries)
            else:
                placed = queries + tokens
                queries = queries + _attend(layer.self_attn, placed, queries)
            queries = layer.norm1(queries)
            if pixels is None:
                image = self.image
            else:
                image = _ChangedImages(layer, pixels, self.position)
            queries = layer.norm2(queries + image.read(queries + tokens))
            queries = layer.norm3(queries + layer.mlp(queries))
            pixels = layer.norm4(image.write(queries + tokens, queries))
        attention = transformer.final_attn_token_to_image
        read = _read(attention, queries + tokens, pixels, pixels + self.position)
        return transformer.norm_final_attn(queries + read), pixels

    def _draw(self, kernels: Tensor, pixels: Tensor) -> Tensor:
        """Upscale the pixels (B, h w, C) and compare them with each mask's kernel."""
        first, norm, act, second, last_act = self.mask_decoder.output_upscaling
        x = _upscale(first, pixels)
        x = layer_norm(x, [len(norm.weight)], norm.weight, norm.bias, norm.eps)
        x = last_act(_upscale(second, act(x)))  # (B, h w 2 2 2 2, C / 8)
        # In this order the gradient of x is contiguous: of others, torch 2.1 computes
        # that of GELU wrongly.
        masks = (x @ kernels.transpose(1, 2)).unflatten(1, (-1, 4, 4))
        # The finer places go before the coarser, which are taken apart first.
        masks = masks.permute(0, 4, 3, 2, 1).flatten(1, 3)
        height, width = map(int, self.embedding.shape[-2:])  # numbers when traced, too
        masks = masks.unflatten(2, (height, width))
        return pixel_shuffle(pixel_shuffle(masks, 2), 2)


class _SharedImage:
    """The pixels that prompts see in the first layer, projected once per image.

    The tokens of all prompts on an image are the rows of one matrix, so that nothing
    of the image is copied for each prompt.
    """

    def __init__(
        self, layer: TwoWayAttentionBlock, pixels: Tensor, position: Tensor
    ) -> None:
        reader = layer.cross_attn_token_to_image
        self.reader, self.writer = reader, layer.cross_attn_image_to_token
        self.pixels = pixels  # (images, h w, C)
        placed = pixels + position
        self.keys = _split_heads(reader, reader.k_proj(placed))
        self.values = _split_heads(reader, reader.v_proj(pixels))
        self.queries = _split_heads(self.writer, self.writer.q_proj(placed))

    def read(self, tokens: Tensor) -> Tensor:
        """What the tokens (B, N, C) see in the pixels, in the same shape."""
        rows = self._join(self.reader.q_proj(tokens))
        queries = _split_heads(self.reader, rows)
        seen = scaled_dot_product_attention(queries, self.keys, self.values)
        seen = self.reader.out_proj(seen.transpose(1, 2).flatten(2))
        return seen.reshape(*tokens.shape[:2], self.reader.out_proj.out_features)

    def write(self, tokens: Tensor, values: Tensor) -> Tensor:
        """The pixels after they have looked at the tokens, (B, h w, C)."""
        rows = self._join(self.writer.k_proj(tokens))
        scores = _split_heads(self.writer, rows) @ self.queries.transpose(2, 3)
        images, heads = len(scores), self.writer.num_heads
        places = int(self.pixels.shape[1])  # a number when traced, too
        scores = scores.reshape(images, heads, -1, tokens.shape[1], places)
        scores = scores.transpose(1, 2).flatten(0, 1)
        return _write(self.writer, scores, values, self.pixels)

    def _join(self, x: Tensor) -> Tensor:
        """From (B, N, c) to (images, B / images N, c)."""
        return x.reshape(len(self.pixels), -1, int(x.shape[2]))


class _ChangedImages:
    """Pixels that each prompt has changed, (B, h w, C)."""

    def __init__(
        self, layer: TwoWayAttentionBlock, pixels: Tensor, position: Tensor
    ) -> None:
        self.reader = layer.cross_attn_token_to_image
        self.writer = layer.cross_attn_image_to_token
        self.pixels = pixels
        self.placed = pixels + position

    def read(self, queries: Tensor) -> Tensor:
        """What the tokens (B, N, C) see in the pixels, in the same shape."""
        return _read(self.reader, queries, self.pixels, self.placed)

    def write(self, keys: Tensor, values: Tensor) -> Tensor:
        """The pixels after they have looked at the tokens, (B, h w, C)."""
        keys = _split_heads(self.writer, self.writer.k_proj(keys))
        scores = _compare(self.writer, self.writer.q_proj, keys, self.placed)
        # Softmax over the tokens does not cancel what the bias adds to each.
        bias = self.writer.q_proj.bias.view(self.writer.num_heads, -1, 1)
        return _write(self.writer, scores + keys @ bias, values, self.pixels)


def _attend(attention: Attention, placed: Tensor, values: Tensor) -> Tensor:
    """Attention of tokens (B, N, C) to each other, without constants when traced."""
    queries, keys, values = (
        _split_heads(attention, projection(x))
        for projection, x in (
            (attention.q_proj, placed),
            (attention.k_proj, placed),
            (attention.v_proj, values),
        )
    )
    scores = queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[-1])
    seen = scores.softmax(-1) @ values
    return attention.out_proj(seen.transpose(1, 2).flatten(2))


def _read(
    attention: Attention, queries: Tensor, pixels: Tensor, placed: Tensor
) -> Tensor:
    """Attention from tokens (B, N, C) to pixels (B, h w, C), with their positions."""
    queries = _split_heads(attention, attention.q_proj(queries))
    scores = _compare(attention, attention.k_proj, queries, placed)
    scores = scores / math.sqrt(queries.shape[-1])
    means = scores.softmax(-1).flatten(1, 2) @ pixels
    means = means.unflatten(1, (attention.num_heads, -1))
    weight = _weight_of_heads(attention.v_proj, attention.num_heads)
    seen = (means @ weight.transpose(1, 2)).transpose(1, 2).flatten(2)
    return attention.out_proj(seen + attention.v_proj.bias)


def _compare(
    attention: Attention, projection: nn.Linear, tokens: Tensor, pixels: Tensor
) -> Tensor:
    """Products of tokens (B, heads, N, c) with projected pixels, but for the bias."""
    weight = _weight_of_heads(projection, attention.num_heads)
    scores = (tokens @ weight).flatten(1, 2) @ pixels.transpose(1, 2)
    return scores.unflatten(1, (attention.num_heads, -1))


def _write(
    attention: Attention, scores: Tensor, values: Tensor, pixels: Tensor
) -> Tensor:
    """Pixels after their attention to tokens, from scores (B, heads, N, h w)."""
    values = _split_heads(attention, attention.v_proj(values))
    weights = (scores / math.sqrt(values.shape[-1])).softmax(2)
    # (C, heads, c) to (heads, c, C)
    out = attention.out_proj.weight.unflatten(1, (attention.num_heads, -1))
    # A part of the bias for each head, whose weights add up to 1.
    bias = attention.out_proj.bias / attention.num_heads
    out = (values @ out.permute(1, 2, 0) + bias).flatten(1, 2)
    return torch.baddbmm(pixels, weights.flatten(1, 2).transpose(1, 2), out)


def _split_heads(attention: Attention, x: Tensor) -> Tensor:
    """From (B, N, heads c) to (B, heads, N, c)."""
    return x.unflatten(2, (attention.num_heads, -1)).transpose(1, 2)


def _weight_of_heads(projection: nn.Linear, heads: int) -> Tensor:
    """(heads, c, C)."""
    return projection.weight.unflatten(0, (heads, -1))


def _upscale(conv: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """A transposed convolution of stride 2, from (B, K, C) to (B, K 2 2, C')."""
    weight = conv.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (2 2 C', C)
    return linear(x, weight, conv.bias.repeat(4)).unflatten(2, (4, -1)).flatten(1, 2)


def _to_rows(x: Tensor) -> Tensor:
    """From (B, C, h, w) to (B, h w, C)."""
    return x.flatten(2).transpose(1, 2).contiguous()
