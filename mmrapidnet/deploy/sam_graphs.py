"""Encoder and decoder of a segment-anything model as functions of plain tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmrapidnet.deploy.graphs import Graph, Preprocessing, require_torch
from mmrapidnet.models.sam import SegmentAnything
from mmrapidnet.models.sam.image_decoder import ImageDecoder
from mmrapidnet.utils.errors import UserError

PARTS = ('encoder', 'decoder')


def build_sam_graph(model: nn.Module, part: str) -> Graph:
    """Make a graph of one part of a model.

    | part | inputs | outputs |
    |---|---|---|
    | encoder | ``image`` (N, 3, S, S), RGB, 0 to 255, padded on the right and below
      with `Encoder.pad_value` | ``embedding`` (N, C, h, w) |
    | decoder | ``embedding`` (1, C, h, w); of B prompts ``points`` (B, N, 2), x and y
      in pixels of the image, and ``labels`` (B, N): 1 of the object, 0 outside of it,
      2 and 3 the corners of its box, -1 no point, which a prompt without a box ends
      with; ``mask_input`` (1, 1, 4 h, 4 w), logits of a mask that all have, and
      ``has_mask`` (1,), 1 or 0 | ``masks`` (B, 4, 4 h, 4 w), logits: the one mask,
      then the three; ``ious`` (B, 4) |

    S is the model's ``image_size``; h = w = S / 16.

    Args:
        model: A `SegmentAnything` in evaluation mode. It is shared, not copied.
        part: 'encoder' or 'decoder'.

    Returns:
        The graph.

    Raises:
        UserError: If it is another model or in training mode, or if PyTorch is too
            old.
    """
    require_torch()
    name = type(model).__name__
    if not isinstance(model, SegmentAnything):
        raise UserError(
            f'part={part} is of SegmentAnything; {name} has none: take part=whole'
        )
    if model.training:
        raise UserError(f'{name} is in training mode: call its eval() first')
    if part == 'encoder':
        return Graph('encoder', Encoder(model).eval(), ('embedding',), name)
    height, width = model.prompt_encoder.mask_input_size
    prompts = {
        'points': ('prompts', 'points', 2),
        'labels': ('prompts', 'points'),
        'mask_input': (1, 1, height, width),
        'has_mask': (1,),
    }
    module, outputs = Decoder(model).eval(), ('masks', 'ious')
    return Graph('decoder', module, outputs, name, input='embedding', prompts=prompts)


class Encoder(nn.Module):
    """The image encoder behind its pre-processing, for images that are padded.

    Whether the model's own images are RGB, or BGR that its data preprocessor turns
    round: these are RGB.

    Args:
        model: A `SegmentAnything`.
    """

    def __init__(self, model: SegmentAnything) -> None:
        super().__init__()
        self.preprocessing = Preprocessing(model.data_preprocessor)
        self.preprocessing.reverse, self.preprocessing.divisor = False, 1
        self.model = model

    @property
    def pad_value(self) -> list[float]:
        """What images are padded with, by channel: as after the normalisation."""
        mean, std = self.preprocessing.mean, self.preprocessing.std
        if mean is None:
            return [self.preprocessing.pad_value] * 3
        values = mean + self.preprocessing.pad_value * std
        return values.flatten().expand(3).tolist()

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """From images (N, 3, S, S) to their embeddings."""
        return (self.model.extract_feat(self.preprocessing(image)),)


class Decoder(nn.Module):
    """Prompt encoder and mask decoder, without branches that depend on values.

    Args:
        model: A `SegmentAnything`.
    """

    def __init__(self, model: SegmentAnything) -> None:
        super().__init__()
        self.prompt_encoder = model.prompt_encoder
        self.mask_decoder = model.mask_decoder
        self.image_size = model.image_size

    def forward(
        self,
        embedding: Tensor,
        points: Tensor,
        labels: Tensor,
        mask_input: Tensor,
        has_mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """From prompts to masks, see `build_sam_graph`."""
        encoder = self.prompt_encoder
        none = encoder.no_mask_embed.weight[..., None, None]
        dense = has_mask * encoder.mask_downscaling(mask_input) + (1 - has_mask) * none
        image = ImageDecoder(encoder, self.mask_decoder, embedding, dense)
        return image.decode(self._embed_points(points, labels))

    def _embed_points(self, points: Tensor, labels: Tensor) -> Tensor:
        """(B, N, C). Kinds are looked up, where SAM assigns to those of each label."""
        encoder = self.prompt_encoder
        kinds = [encoder.not_a_point_embed, *encoder.point_embeddings]
        kinds = torch.cat([kind.weight for kind in kinds])
        # From the corner of a pixel to its centre.
        places = encoder.pe_layer._pe_encoding((points + 0.5) / self.image_size)
        return places * (labels >= 0)[..., None] + kinds[labels.long() + 1]
