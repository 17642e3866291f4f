"""The model of SAM: an image encoder, prompts, masks."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor
from torch.nn.functional import interpolate, pad

from mmrapidnet.models.sam.image_decoder import ImageDecoder
from mmrapidnet.models.sam.prompt_testing import CLICKS, predict_prompted
from mmrapidnet.models.sam.prompt_training import PromptTraining
from mmrapidnet.models.sam.prompts import find_boxes
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
        position_scale: Standard deviation of the random frequencies that encode
            positions. The smaller it is, the farther apart two places look alike, and
            the sooner a short training finds where its prompts are. Once drawn the
            frequencies belong to the weights. Defaults to 1, as published.
        data_preprocessor: What normalises and pads images. Defaults to None: the
            published mean and standard deviation of RGB images, zeros on the right and
            below.
        frozen_encoder: Whether backbone and neck stay as they are, in evaluation mode,
            while the rest is trained. Defaults to False.
        train_cfg: Arguments of `PromptTraining`. Defaults to None: its defaults.
        test_cfg: ``clicks``, after how many of them tests look at the masks. Defaults
            to None: 1, 3 and 5.
        init_cfg: Initialisation. Defaults to None.

    Raises:
        UserError: If ``image_size`` is no multiple of 64, ``position_scale`` is not
            above 0, ``train_cfg`` has a number out of its range, or
            ``segment-anything`` is not installed.
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        neck: dict[str, Any],
        image_size: int = 1024,
        position_scale: float = 1.0,
        data_preprocessor: dict[str, Any] | None = None,
        frozen_encoder: bool = False,
        train_cfg: dict[str, Any] | None = None,
        test_cfg: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        if image_size < 1 or image_size % SIZE_DIVISOR:
            raise UserError(
                f'image_size={image_size} of SegmentAnything: give a multiple of '
                f'{SIZE_DIVISOR}, such as 1024'
            )
        if position_scale <= 0:
            raise UserError(
                f'position_scale={position_scale} of SegmentAnything: give a number '
                'above 0, such as 1'
            )
        data_preprocessor = data_preprocessor or dict(
            type='ImgDataPreprocessor',
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            pad_size_divisor=image_size,
        )
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        sam, transforms = import_package()
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
        self.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix *= (
            position_scale
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
        self.prompt_training = PromptTraining(**(train_cfg or {}))
        self.clicks = tuple((test_cfg or {}).get('clicks', CLICKS))
        self.frozen_encoder = frozen_encoder
        if frozen_encoder:
            self.backbone.requires_grad_(False)
            self.neck.requires_grad_(False)

    def train(self, mode: bool = True) -> SegmentAnything:
        """Set the mode of all but a frozen encoder, which stays in evaluation mode."""
        super().train(mode)
        if self.frozen_encoder:
            self.backbone.eval()
            self.neck.eval()
        return self

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[BaseDataElement] | None = None,
        mode: str = 'tensor',
    ) -> Tensor | dict[str, Tensor] | list[BaseDataElement]:
        """Compute image embeddings, losses, or the masks that prompts give.

        Args:
            inputs: Preprocessed images, (N, 3, image_size, image_size).
            data_samples: The images' objects, ``gt_instances.masks``; not used of mode
                'tensor'.
            mode: 'tensor', 'loss' or 'predict'. Defaults to 'tensor'.

        Returns:
            The embeddings, (N, C, image_size / 16, image_size / 16), or what `loss` or
            `predict` gives.

        Raises:
            UserError: As `extract_feat`, or of another mode.
        """
        if mode == 'tensor':
            return self.extract_feat(inputs)
        if mode not in ('loss', 'predict'):
            raise UserError(
                f"mode='{mode}' of SegmentAnything: choose 'tensor', 'loss' or "
                "'predict'"
            )
        return getattr(self, mode)(inputs, data_samples)

    def loss(
        self, inputs: Tensor, data_samples: list[BaseDataElement]
    ) -> dict[str, Tensor]:
        """Train with prompts that are made of the objects' masks.

        Args:
            inputs: Preprocessed images, (N, 3, image_size, image_size).
            data_samples: With ``gt_instances.masks`` in the size that the image has in
                the encoder's input.

        Returns:
            Means over the objects of what `PromptTraining.run_rounds` gives.  Without
            any object the loss is 0, and so are the gradients of all parameters.
        """
        embeddings = self.extract_feat(inputs)
        drawn = [self._draw_objects(sample) for sample in data_samples]
        counts = torch.tensor([len(masks) for masks in drawn], device=inputs.device)
        truth = torch.cat(drawn).to(inputs.device)
        embeddings = embeddings.repeat_interleave(counts, dim=0)
        training = self.prompt_training
        has_box = training.choose_boxes(len(truth)).to(inputs.device)
        parts = []
        for chosen, draw in (
            (has_box, training.draw_boxes),
            (~has_box, training.draw_points),
        ):
            if chosen.any():
                masks, decoder = truth[chosen], self.build_decoder(embeddings[chosen])
                losses = training.run_rounds(draw(masks), decoder, masks)
                parts.append((len(masks) / len(truth), losses))
        if not parts:
            trained = (p for p in self.parameters() if p.requires_grad)
            return dict(loss_mask=sum(0 * parameter.sum() for parameter in trained))
        return {name: sum(w * part[name] for w, part in parts) for name in parts[0][1]}

    def predict(
        self, inputs: Tensor, data_samples: list[BaseDataElement]
    ) -> list[BaseDataElement]:
        """Segment the objects from prompts that are made of their own masks.

        Args:
            inputs: Preprocessed images, (N, 3, image_size, image_size).
            data_samples: With ``gt_instances.masks``, in any size, such as the image's
                own.

        Returns:
            The samples with ``prompted_masks``, bool masks (objects, H, W) by the kind
            of prompt (see `predict_prompted`), and as ``pred_instances`` those of the
            boxes.
        """
        for embedding, sample in zip(self.extract_feat(inputs).split(1), data_samples):
            objects = sample.gt_instances
            truth = objects.masks.to_tensor(torch.bool, inputs.device)
            original, size = truth.shape[1:], sample.img_shape[:2]
            upscale = partial(
                self.upscale_masks, input_size=size, original_size=original
            )
            scale = (size[1] / original[1], size[0] / original[0])
            decoder = self.build_decoder(embedding)
            sample.prompted_masks, ious = predict_prompted(
                decoder, upscale, truth, scale, self.clicks
            )
            sample.pred_instances = InstanceData(
                bboxes=find_boxes(truth),
                labels=objects.labels,
                scores=ious,
                masks=sample.prompted_masks['box'],
            )
        return data_samples

    def _draw_objects(self, sample: BaseDataElement) -> Tensor:
        """Draw objects to train on that are left in the image, (n, H, W), bool."""
        masks = sample.gt_instances.masks
        masks = masks[masks.areas.nonzero()[0]]
        masks = masks[self.prompt_training.choose(len(masks)).numpy()]
        tensor = masks.to_tensor(torch.bool, 'cpu')
        height, width = tensor.shape[1:]
        return pad(tensor, (0, self.image_size - width, 0, self.image_size - height))

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
            image: (H, W, 3), uint8, RGB; a data preprocessor that turns BGR into RGB
                is given what it expects.

        Returns:
            What `build_decoder` gives, and the height and width that the image has in
            the encoder's input.

        Raises:
            UserError: As `resize_image`.
        """
        preprocessor = self.data_preprocessor
        resized = resize_image(image, self.transform)
        pixels = torch.from_numpy(resized).permute(2, 0, 1)
        if preprocessor._channel_conversion:
            pixels = pixels.flip(0)
        inputs = preprocessor(dict(inputs=[pixels]))['inputs']
        right, below = (self.image_size - edge for edge in inputs.shape[:1:-1])
        inputs = pad(inputs, (0, right, 0, below), value=preprocessor.pad_value)
        return self.build_decoder(self.extract_feat(inputs)), resized.shape[:2]

    def build_decoder(self, embedding: Tensor) -> ImageDecoder:
        """Prepare an image for prompts.

        Args:
            embedding: The image's, (1, C, image_size / 16, image_size / 16); or those
                of the images of B prompts.

        Returns:
            What gives the masks of any number of prompts on the image, or of B.
        """
        return ImageDecoder(self.prompt_encoder, self.mask_decoder, embedding)

    def upscale_masks(
        self,
        logits: Tensor,
        input_size: tuple[int, int],
        original_size: tuple[int, int],
    ) -> Tensor:
        """Bring masks to the size of their image, see the function `upscale_masks`."""
        return upscale_masks(logits, self.image_size, input_size, original_size)


def resize_image(image: np.ndarray, transform: Any) -> np.ndarray:
    """Resize an image to the size that it has in the encoder's input.

    Args:
        image: (H, W, 3), uint8.
        transform: ``ResizeLongestSide`` of ``segment-anything``.

    Returns:
        (h, w, 3), uint8, in one piece.

    Raises:
        UserError: If it is so small or thin that nothing is left of it.
    """
    height, width = image.shape[:2]
    if min(height, width) < 2 or not min(
        transform.get_preprocess_shape(height, width, transform.target_length)
    ):
        raise UserError(
            f'the image has {width} x {height} pixels, in which nothing can be seen: '
            'give a larger one'
        )
    return transform.apply_image(np.ascontiguousarray(image))


def upscale_masks(
    logits: Tensor,
    image_size: int,
    input_size: tuple[int, int],
    original_size: tuple[int, int],
) -> Tensor:
    """Bring masks to the size of their image.

    Args:
        logits: Of masks, (B, M, image_size / 4, image_size / 4).
        image_size: Height and width of the encoder's input.
        input_size: Height and width that the image had in it.
        original_size: Height and width of the image.

    Returns:
        (B, M, height, width), logits.
    """
    masks = interpolate(logits, (image_size, image_size), mode='bilinear')
    masks = masks[..., : input_size[0], : input_size[1]]
    if tuple(input_size) == tuple(original_size):
        return masks
    return interpolate(masks, original_size, mode='bilinear')


def import_package() -> tuple[ModuleType, ModuleType]:
    """The modules of ``segment-anything``.

    Raises:
        UserError: If it is not installed.
    """
    try:
        from segment_anything import modeling
        from segment_anything.utils import transforms
    except ImportError as error:
        raise UserError(
            f'SegmentAnything needs the package segment-anything ({error}): pip '
            'install "mmrapidnet[sam]"'
        ) from error
    return modeling, transforms
