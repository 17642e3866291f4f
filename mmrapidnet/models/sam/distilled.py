"""A model that segments anything whose encoder learns from that of another one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.nn.functional import mse_loss

from mmrapidnet.models.frozen import FrozenModel, LearnsFromTeacher
from mmrapidnet.models.sam.embeddings import (
    Record,
    StoredEmbeddings,
    decoder_weights,
    find_grid,
)
from mmrapidnet.models.sam.sam_vit import rename_published
from mmrapidnet.models.sam.segment_anything import SegmentAnything
from mmrapidnet.utils.errors import UserError


class SAMTeacher(FrozenModel):
    """A frozen `SegmentAnything` that gives image embeddings.

    Args:
        cfg: Its config, with its weights as ``checkpoint`` (path or URL), under our
            names or those of SAM's own files (``sam_vit_h_4b8939.pth``).

    Raises:
        UserError: If there are no weights, or they do not fit.
    """

    instead = 'or give model.embeddings=DIR, which tools/embed_images.py writes'

    def __init__(self, cfg: dict[str, Any] | None) -> None:
        super().__init__(cfg)
        self.image_size = self.model.image_size
        self.channels = self.model.neck.out_channels

    @torch.no_grad()
    def __call__(self, inputs: Tensor, data_samples: Sequence[Any]) -> Tensor:
        """Compute image embeddings.

        Args:
            inputs: Preprocessed images, (N, 3, image_size, image_size).
            data_samples: Not used.

        Returns:
            (N, C, image_size / 16, image_size / 16).
        """
        return self.model.extract_feat(inputs)

    def decoder_weights(self) -> dict[str, Tensor]:
        """Its prompt encoder and mask decoder, by their names."""
        return decoder_weights(self.model)

    def find_weights(
        self, content: dict[str, Any], checkpoint: str
    ) -> dict[str, Tensor]:
        """Find the weights; as `FrozenModel`'s, and also in SAM's own files."""
        return rename_published(super().find_weights(content, checkpoint))


@MODELS.register_module()
class DistilledSegmentAnything(LearnsFromTeacher, SegmentAnything):
    """`SegmentAnything` whose encoder learns the image embeddings of a teacher.

    That is decoupled distillation (MobileSAM, arXiv 2306.14289; RepViT-SAM, arXiv
    2312.05760): the prompt encoder and the mask decoder are the teacher's and stay as
    they are, so that what is trained is a whole model.  The teacher stays in
    evaluation mode, and is in neither the state dict nor the parameters.  It is built
    by ``init_weights``, with which training starts: testing needs none.

    Args:
        *args: As `SegmentAnything`.
        teacher: Config of a `SegmentAnything` with an embedding of the same shape,
            with its weights as ``checkpoint``; SAM's own with a `SAMViT` as backbone.
            Defaults to None.
        embeddings: Folder of the teacher's embeddings, which `embed_images` wrote;
            they take the place of the teacher. Defaults to None.
        **kwargs: As `SegmentAnything`.

    Raises:
        UserError: From ``init_weights``, if there is neither a teacher with weights nor
            a folder, or their embeddings have another shape.

    Examples:
        >>> model = DistilledSegmentAnything(
        ...     backbone=dict(type='RapidNet', arch='ti', out_indices=(2, 3)),
        ...     neck=dict(type='SAMNeck', in_channels=[112, 224]),
        ...     teacher=dict(
        ...         type='SegmentAnything',
        ...         backbone=dict(type='SAMViT', arch='h'),
        ...         neck=dict(type='SAMNeck', in_channels=[1280]),
        ...         checkpoint='sam_vit_h_4b8939.pth',
        ...     ),
        ... )
        >>> {name.split('.')[0] for name in model.state_dict()} == {
        ...     'backbone',
        ...     'neck',
        ...     'prompt_encoder',
        ...     'mask_decoder',
        ... }
        True
    """

    def __init__(
        self,
        *args: Any,
        teacher: dict[str, Any] | None = None,
        embeddings: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.prompt_encoder.requires_grad_(False)
        self.mask_decoder.requires_grad_(False)
        self.teacher_cfg = teacher
        self.embeddings = embeddings

    def init_weights(self) -> None:
        """Initialise the encoder; take the rest from the teacher."""
        super().init_weights()
        teacher = self._build_teacher()
        ours, theirs = (
            f'image_size={size} and {channels} channels'
            for size, channels in (
                (self.image_size, self.neck.out_channels),
                (teacher.image_size, teacher.channels),
            )
        )
        if ours != theirs:
            raise UserError(
                f'the student has {ours}, its teacher has {theirs}: give both an '
                'embedding of the same shape'
            )
        self.load_state_dict(teacher.decoder_weights(), strict=False)
        self.take_teacher(teacher)

    @staticmethod
    def check_teacher(cfg: dict[str, Any]) -> None:
        """Raise unless there is something to learn from.

        Args:
            cfg: Config of a model of this class.

        Raises:
            UserError: In one line, what is missing.
        """
        if cfg.get('embeddings'):
            Record.read(cfg['embeddings'])
        else:
            SAMTeacher.check(cfg.get('teacher'))

    def _build_teacher(self) -> SAMTeacher | StoredEmbeddings:
        if self.embeddings:
            checkpoint = (self.teacher_cfg or {}).get('checkpoint')
            return StoredEmbeddings(self.embeddings, checkpoint)
        teacher = SAMTeacher(self.teacher_cfg)
        ours, theirs = (
            [buffer.tolist() for buffer in model.data_preprocessor.buffers()]
            for model in (self, teacher.model)
        )
        if ours != theirs:
            raise UserError(
                'the teacher is shown the images of the student, but their '
                'data_preprocessor differ in mean or std: give both the same'
            )
        return teacher

    def loss(
        self, inputs: Tensor, data_samples: list[BaseDataElement]
    ) -> dict[str, Tensor]:
        """Compare the image embeddings with the teacher's.

        Args:
            inputs: Preprocessed images, (N, 3, image_size, image_size).
            data_samples: With ``img_shape``, the height and width of each image before
                it was padded.

        Returns:
            The mean over the images of the mean squared error, of all places that see
            something of the image.
        """
        embeddings = self.extract_feat(inputs)
        targets = self.teacher(inputs, data_samples)
        grids = map(find_grid, data_samples)
        return dict(loss_distill=masked_mse(embeddings, targets, grids))


def masked_mse(
    embeddings: Tensor, targets: Tensor, grids: Iterable[tuple[int, int]]
) -> Tensor:
    """The mean over images of the mean squared error where there is an image.

    Args:
        embeddings: (N, C, H, W).
        targets: The same.
        grids: Of each image the rows and columns that it covers, from the first on.

    Returns:
        A scalar.
    """
    errors = [
        mse_loss(embedding[:, :height, :width], target[:, :height, :width])
        for embedding, target, (height, width) in zip(
            embeddings, targets, grids, strict=True
        )
    ]
    return torch.stack(errors).mean()
