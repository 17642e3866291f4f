"""Embeddings of images that a teacher has computed once, on disk.

A folder of them mirrors that of the images: for ``a/b.jpg`` it has ``a/b.jpg.npy``, the
embedding in float16 as far as the image reaches, (C, h, w).  Beside them are
`RECORD`, which says of which teacher they are, and `DECODER`, its prompt encoder and
mask decoder, so that to learn from the folder takes no other file.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.fileio import get_local_path
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmrapidnet.checkpoints.save import sha256_of, write_checkpoint
from mmrapidnet.checkpoints.state_dict import get_state_dict, read_checkpoint
from mmrapidnet.models.sam.segment_anything import STRIDE, SegmentAnything
from mmrapidnet.utils.atomic import write_atomic
from mmrapidnet.utils.errors import UserError

RECORD = 'embeddings.json'
DECODER = 'decoder.pth'
_MAKE = 'make them with tools/embed_images.py CONFIG FOLDER --out DIR'


@dataclass(frozen=True)
class Record:
    """What the embeddings of a folder are of.

    Attributes:
        image_size: Height and width of the teacher's input.
        channels: C.
        sha256: Of the file of the teacher's weights.
    """

    image_size: int
    channels: int
    sha256: str

    @classmethod
    def of(cls, model: SegmentAnything, checkpoint: str) -> Record:
        """Describe a teacher.

        Args:
            model: The teacher.
            checkpoint: Path or URL of its weights.
        """
        return cls(model.image_size, model.neck.out_channels, hash_weights(checkpoint))

    @classmethod
    def read(cls, folder: str | Path) -> Record:
        """Read the record of a folder.

        Raises:
            UserError: If there is none, or it is damaged.
        """
        path = Path(folder) / RECORD
        try:
            return cls(**json.loads(path.read_bytes()))
        except OSError as error:
            raise UserError(
                f'{folder} holds no embeddings ({RECORD}): {_MAKE}'
            ) from error
        except (ValueError, TypeError) as error:
            raise UserError(
                f'{path} is damaged: delete {folder}, and {_MAKE}'
            ) from error

    def write(self, folder: Path) -> None:
        """Write it into a folder."""
        write_atomic(folder / RECORD, json.dumps(asdict(self), indent=1).encode())


def hash_weights(checkpoint: str) -> str:
    """The SHA-256 of a file of weights.

    Args:
        checkpoint: Its path or URL.
    """
    with get_local_path(checkpoint) as path:
        return sha256_of(Path(path))


class StoredEmbeddings:
    """A teacher that has seen all images before.

    Args:
        folder: The folder of the embeddings.
        checkpoint: The weights of the teacher that they are to be of. Defaults to
            None: any.

    Raises:
        UserError: If it is no such folder, or its embeddings are of other weights.
    """

    def __init__(self, folder: str | Path, checkpoint: str | None = None) -> None:
        self.folder = Path(folder)
        record = Record.read(folder)
        if checkpoint and hash_weights(checkpoint) != record.sha256:
            raise UserError(
                f'the embeddings in {folder} are of another teacher than {checkpoint}: '
                f'{_MAKE} into another folder'
            )
        self.image_size, self.channels = record.image_size, record.channels

    def __call__(self, inputs: Tensor, data_samples: Sequence[Any]) -> Tensor:
        """Read the embeddings of a batch.

        Args:
            inputs: Preprocessed images, (N, 3, image_size, image_size).
            data_samples: With the ``img_name`` of each, its path below the folder of
                images.

        Returns:
            (N, C, image_size / 16, image_size / 16), zeros where an image is padded.

        Raises:
            UserError: If there is none of an image, or it is damaged or of another
                size.
        """
        grid = self.image_size // STRIDE
        found = inputs.new_zeros(len(inputs), self.channels, grid, grid)
        for embedding, sample in zip(found, data_samples, strict=True):
            height, width = find_grid(sample)
            stored = np.array(self._read(sample))
            embedding[:, :height, :width] = torch.from_numpy(stored)
        return found

    def apply(self, change: Callable[[Tensor], Tensor]) -> None:
        """Nothing: embeddings go where the inputs are."""

    def decoder_weights(self) -> dict[str, Tensor]:
        """The teacher's prompt encoder and mask decoder, by their names."""
        path = str(self.folder / DECODER)
        return get_state_dict(read_checkpoint(path), path)

    def _read(self, sample: BaseDataElement) -> np.ndarray:
        name = sample.get('img_name')
        if name is None or sample.get('flip'):
            raise UserError(
                'stored embeddings are of the images as they are: the training '
                'pipeline must not change them at random, and its PackDetInputs needs '
                "the meta_keys 'img_name' and 'img_shape' of an ImageFolder"
            )
        path = embedding_path(self.folder, name)
        embedding = read_embedding(path)
        if embedding is None:
            raise UserError(f'{path} is missing or damaged: {_MAKE}')
        expected = (self.channels, *find_grid(sample))
        if embedding.shape != expected:
            raise UserError(
                f'{path} has the shape {embedding.shape} instead of {expected}: the '
                f'image, or how it is resized, has changed; {_MAKE} into another folder'
            )
        return embedding


def find_grid(sample: BaseDataElement) -> tuple[int, int]:
    """How far an image reaches in its embedding, in rows and columns.

    Args:
        sample: Its sample, with the height and width that it has in the encoder's
            input as ``img_shape``.

    Examples:
        >>> find_grid(BaseDataElement(metainfo=dict(img_shape=(64, 33))))
        (4, 3)
    """
    height, width = (-(-side // STRIDE) for side in sample.img_shape[:2])
    return height, width


def embedding_path(folder: Path, name: str) -> Path:
    """Where the embedding of an image is, of the image's path below its folder."""
    return folder / f'{name}.npy'


def read_embedding(path: Path) -> np.ndarray | None:
    """Open an embedding, (C, h, w); None if there is none or it is damaged."""
    try:
        # Tells a truncated file without reading it.
        embedding = np.load(path, mmap_mode='r')
    except (OSError, ValueError, EOFError):
        return None
    whole = embedding.dtype == np.float16 and embedding.ndim == 3
    return embedding if whole else None


def write_embedding(path: Path, embedding: Tensor) -> None:
    """Write an embedding, whole or not at all.

    Args:
        path: The file.
        embedding: (C, h, w).
    """
    content = io.BytesIO()
    np.save(content, embedding.half().cpu().numpy())
    write_atomic(path, content.getvalue())


def write_decoder(folder: Path, model: SegmentAnything) -> None:
    """Write a teacher's prompt encoder and mask decoder."""
    write_checkpoint(folder / DECODER, decoder_weights(model), {})


def decoder_weights(model: SegmentAnything) -> dict[str, Tensor]:
    """The prompt encoder and mask decoder of a model, by their names."""
    parts = ('prompt_encoder.', 'mask_decoder.')
    return {k: v for k, v in model.state_dict().items() if k.startswith(parts)}
