"""The model of SAM: an image encoder, prompts, masks."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor
from torch.nn.functional import interpolate

from mmrapidnet.models.sam.image_decoder import ImageDecoder
from mmrapidnet.utils.errors import UserError

STRIDE = 16
# Backbones reach a stride of 32, and the neck enlarges such a map to twice its size.
SIZE_DIVISOR = 64
# Logits above it are of the object.
MASK_THRESHOLD = 0.0
# Masks that are enlarged at a time.
CHUNK = 8


@MODELS.register_module()
class SegmentAnything(BaseModel):
    """Segment anything (arXiv 2304.02643) on a backbone of this project.

    With RepViT-M2.3 and the defaults it is RepViT-SAM (arXiv 2312.05760).  The prompt
    encoder and the mask decoder are SAM's, from the package ``segment-anything``.

    Args:
        backbone: The backbone; its first feature map has a stride of 16.
        neck: What makes the image embedding of the feature maps, `SAMNeck`.
        image_size: Height and width of the encoder's input, a multiple of 64.
            Defaults to 1024.
        data_preprocessor: What normalises and pads images. Defaults to None: the
            published mean and standard deviation of RGB images, zeros on the right and
            below.
        init_cfg: Initialisation. Defaults to None.

    Raises:
        UserError: If ``image_size`` is no multiple of 64, or ``segment-anything`` is
            not installed.
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        neck: dict[str, Any],
        image_size: int = 1024,
        data_preprocessor: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        if image_size < 1 or image_size % SIZE_DIVISOR:
            raise UserError(
                f'image_size={image_size} of SegmentAnything: give a multiple of '
                f'{SIZE_DIVISOR}, such as 1024'
            )
        data_preprocessor = data_preprocessor or dict(
            type='ImgDataPreprocessor',
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            pad_size_divisor=image_size,
        )
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        sam, transforms = _import_package()
        self.image_size = image_size
        self.transform = transforms.ResizeLongestSide(image_size)
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(neck)
        channels = self.neck.out_channels
        size = image_size // STRIDE
        # The published sizes of the rest.
        self.prompt_encoder = sam.PromptEncoder(
            embed_dim=channels,
            image_embedding_size=(size, size),
            input_image_size=(image_size, image_size),
            mask_in_chans=16,
        )
        self.mask_decoder = sam.MaskDecoder(
            transformer_dim=channels,
            transformer=sam.TwoWayTransformer(
                depth=2, embedding_dim=channels, num_heads=8, mlp_dim=2048
            ),
            num_multimask_outputs=3,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        )

    def forward(
        self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor'
    ) -> Tensor:
        """Compute the image embeddings.

        Args:
            inputs: Preprocessed images, (N, 3, image_size, image_size).
            data_samples: Not used.
            mode: 'tensor'.

        Returns:
            (N, C, image_size / 16, image_size / 16).

        Raises:
            UserError: As `extract_feat`, or of another mode.
        """
        if mode != 'tensor':
            raise UserError(
                f"mode='{mode}' of SegmentAnything: it gives image embeddings, with "
                "mode='tensor'"
            )
        return self.extract_feat(inputs)

    def extract_feat(self, inputs: Tensor) -> Tensor:
        """Compute the image embeddings.

        Args:
            inputs: Preprocessed images, (N, 3, image_size, image_size).

        Returns:
            (N, C, image_size / 16, image_size / 16).

        Raises:
            UserError: If the images have another size, or the backbone's first
                feature map has another stride.
        """
        height, width = inputs.shape[-2:]
        if (height, width) != (self.image_size, self.image_size):
            raise UserError(
                f'the encoder was given {height} x {width} pixels, but its image_size '
                f'is {self.image_size}: preprocess images with the data_preprocessor'
            )
        embedding = self.neck(self.backbone(inputs))
        stride = self.image_size // embedding.shape[-1]
        if stride != STRIDE:
            raise UserError(
                f"the backbone's first feature map has a stride of {stride}, but SAM "
                f'has one of {STRIDE}: give RepViT last_stride=1, or another backbone '
                'out_indices=(2, 3)'
            )
        return embedding

    def encode_image(self, image: np.ndarray) -> tuple[ImageDecoder, tuple[int, int]]:
        """Resize an image, compute its embedding and prepare it for prompts.

        Args:
            image: (H, W, 3), uint8, RGB.

        Returns:
            What `build_decoder` gives, and the height and width that the image has in
            the encoder's input.
        """
        resized = self.transform.apply_image(np.ascontiguousarray(image))
        batch = dict(inputs=[torch.from_numpy(resized).permute(2, 0, 1)])
        embedding = self.extract_feat(self.data_preprocessor(batch)['inputs'])
        return self.build_decoder(embedding), resized.shape[:2]

    def build_decoder(self, embedding: Tensor) -> ImageDecoder:
        """Prepare an image for prompts.

        Args:
            embedding: The image's, (1, C, image_size / 16, image_size / 16).

        Returns:
            What gives the masks of any number of prompts.
        """
        return ImageDecoder(self.prompt_encoder, self.mask_decoder, embedding)

    def upscale_masks(
        self,
        logits: Tensor,
        input_size: tuple[int, int],
        original_size: tuple[int, int],
    ) -> Tensor:
        """Bring masks to the size of their image.

        Args:
            logits: Of masks, (B, M, image_size / 4, image_size / 4).
            input_size: Height and width that the image had in the encoder's input.
            original_size: Height and width of the image.

        Returns:
            (B, M, height, width), logits.
        """
        size = (self.image_size, self.image_size)
        masks = interpolate(logits, size, mode='bilinear')
        masks = masks[..., : input_size[0], : input_size[1]]
        if tuple(input_size) == tuple(original_size):
            return masks
        return interpolate(masks, original_size, mode='bilinear')


def _import_package() -> tuple[ModuleType, ModuleType]:
    try:
        from segment_anything import modeling
        from segment_anything.utils import transforms
    except ImportError as error:
        raise UserError(
            f'SegmentAnything needs the package segment-anything ({error}): pip '
            'install "mmrapidnet[sam]"'
        ) from error
    return modeling, transforms
