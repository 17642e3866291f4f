"""An exported encoder and decoder as one model that segments anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmrapidnet.deploy.inference import to_batch
from mmrapidnet.deploy.isolated import IsolatedSession
from mmrapidnet.models.sam.segment_anything import resize_image
from mmrapidnet.utils.errors import UserError, sanitize

# Prompts of one call of the decoder, which has 9 MB for each between its layers.
CHUNK = 16


def pad_image(image: np.ndarray, size: int, pad_value: list[float]) -> np.ndarray:
    """Pad an image on the right and below, as an exported encoder takes it.

    Args:
        image: (H, W, 3), RGB.
        size: Height and width of the encoder's input.
        pad_value: Of each channel; `mmrapidnet.deploy.sam_graphs.Encoder` has it.

    Returns:
        (size, size, 3), float32.
    """
    padded = np.full((size, size, 3), pad_value, np.float32)
    padded[: image.shape[0], : image.shape[1]] = image
    return padded


class ExportedSegmentAnything:
    """The exported files in the place of a `SegmentAnything`, for a predictor.

    They run on the CPU, each in a process of its own.

    Args:
        encoder: The file of an encoder.
        decoder: The file of a decoder; of the same model or of another whose
            embeddings have the same shape.
        threads: Number of threads. Defaults to None: as the runtimes like.

    Raises:
        UserError: If there is no such file, it is of another kind, cannot be run here,
            or the two do not fit each other.

    Attributes:
        image_size: Height and width of the encoder's input.
        transform: What resizes images and moves prompts with them.
    """

    def __init__(
        self, encoder: str | Path, decoder: str | Path, threads: int | None = None
    ) -> None:
        self._encoder = _open(Path(encoder), 'encoder', threads)
        self._decoder = _open(Path(decoder), 'decoder', threads)
        try:
            settings = self._encoder.metadata['settings']
            given, self._pad_value = settings['embedding'], settings['pad_value']
            self.image_size: int = self._encoder.metadata['input']['size'][0]
            taken = self._decoder.metadata['input']
            wanted = [taken['channels'], *taken['size']]
        except (KeyError, TypeError) as error:
            raise UserError(
                f'{encoder} or {decoder} does not say what it takes: export both again'
            ) from error
        if given != wanted:
            raise UserError(
                f'{encoder} gives embeddings of {_join(given)}, but {decoder} takes '
                f'them of {_join(wanted)}: export both from the same model'
            )
        from segment_anything.utils.transforms import ResizeLongestSide

        self.transform = ResizeLongestSide(self.image_size)

    def encode_image(
        self, image: np.ndarray
    ) -> tuple[ExportedDecoder, tuple[int, int]]:
        """Resize an image, compute its embedding and prepare it for prompts.

        Args:
            image: (H, W, 3), uint8, RGB.

        Returns:
            What gives the masks of prompts, and the height and width that the image
            has in the encoder's input.

        Raises:
            UserError: As `mmrapidnet.models.sam.segment_anything.resize_image`.
        """
        resized = resize_image(image, self.transform)
        pixels = to_batch(pad_image(resized, self.image_size, self._pad_value))
        embedding = torch.from_numpy(self._encoder(pixels)['embedding'])
        return self.build_decoder(embedding), resized.shape[:2]

    def build_decoder(self, embedding: Tensor) -> ExportedDecoder:
        """Prepare an image for prompts.

        Args:
            embedding: The image's, (1, C, h, w).

        Returns:
            What gives the masks of any number of prompts.
        """
        return ExportedDecoder(self._decoder, embedding)


class ExportedDecoder:
    """An exported decoder in the place of an `ImageDecoder`.

    Args:
        session: The file.
        embedding: The image's, (1, C, h, w).
    """

    def __init__(self, session: IsolatedSession, embedding: Tensor) -> None:
        self.embedding = embedding
        self._session = session
        self._no_mask = torch.zeros(1, 1, *(4 * n for n in embedding.shape[-2:]))

    def __call__(
        self,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        multimask_output: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Predict the masks of B prompts, as an `ImageDecoder` does."""
        points, labels = _join_prompts(points, labels, boxes, masks)
        chosen = slice(1, None) if multimask_output else slice(0, 1)
        # A mask is one of the image that a call is about.
        step = CHUNK if masks is None else 1
        parts = []
        for first in range(0, max(len(points), 1), step):
            part = slice(first, first + step)
            mask = self._no_mask if masks is None else masks[part]
            found = self._run(points[part], labels[part], mask, masks is not None)
            parts.append([found[name][:, chosen] for name in ('masks', 'ious')])
        logits, ious = (torch.from_numpy(np.concatenate(x)) for x in zip(*parts))
        return logits, ious

    def _run(
        self, points: Tensor, labels: Tensor, mask: Tensor, has_mask: bool
    ) -> dict[str, np.ndarray]:
        has_mask = torch.tensor([float(has_mask)])
        inputs = (self.embedding, points, labels, mask, has_mask)
        return self._session(*(np.ascontiguousarray(x.numpy()) for x in inputs))


def _join_prompts(
    points: Tensor | None,
    labels: Tensor | None,
    boxes: Tensor | None,
    masks: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Points, no point where there is no box, and boxes as points; with their labels.

    Examples:
        >>> _join_prompts(torch.ones(1, 1, 2), torch.ones(1, 1), None, None)[1]
        tensor([[ 1., -1.]])
        >>> _join_prompts(None, None, torch.ones(1, 4), None)[1]
        tensor([[2., 3.]])
    """
    count = len(next(x for x in (points, boxes, masks) if x is not None))
    places, kinds = [torch.zeros(count, 0, 2)], [torch.zeros(count, 0)]
    if points is not None:
        places.append(points)
        kinds.append(labels.float())
    if boxes is not None:
        places.append(boxes.reshape(count, 2, 2))
        kinds.append(torch.tensor([2.0, 3.0]).expand(count, 2))
    elif points is not None:
        places.append(torch.zeros(count, 1, 2))
        kinds.append(torch.full((count, 1), -1.0))
    return torch.cat(places, dim=1), torch.cat(kinds, dim=1)


def _open(path: Path, kind: str, threads: int | None) -> IsolatedSession:
    session = IsolatedSession(path, threads)
    found = session.metadata['kind']
    if found != kind:
        raise UserError(
            f'{path} holds the {sanitize(found)} of '
            f'{sanitize(session.metadata.get("config"))}: as {kind} give a file that '
            f'tools/export.py wrote with --part {kind}'
        )
    return session


def _join(shape: list[int]) -> str:
    return 'x'.join(map(str, shape))
