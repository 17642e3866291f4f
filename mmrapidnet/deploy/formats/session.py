"""What the sessions of all formats share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mmrapidnet.deploy import metadata as about


class Session(ABC):
    """An exported file as a function of a batch of images, run on the CPU.

    Args:
        path: The file.
        threads: Number of threads. Defaults to None: as the runtime likes.
        size: Height and width of all images. Defaults to None: any that it takes.

    Raises:
        UserError: If the file is not what its suffix says, not ours or not whole, or
            does not take that size.

    Attributes:
        metadata: What the file says of itself, see `mmrapidnet.deploy.metadata`.
    """

    def __init__(
        self,
        path: Path,
        threads: int | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.path, self.threads, self.size = path, threads, size
        self.metadata: dict[str, Any] = about.from_text(self._open(), path)
        if size is not None:
            about.check_size(self.metadata, size, path)
        self._prepare()

    def __call__(
        self, image: np.ndarray, *prompts: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Run the file.

        Args:
            image: float32, (N, C, H, W), 0 to 255, as the pipeline reads it (BGR).
            *prompts: The further inputs of a decoder, float32, in their order.

        Returns:
            The outputs by name.

        Raises:
            UserError: If the file does not take such images.
        """
        about.check_image(self.metadata, image, self.path, self.size)
        outputs = self._run(image, *prompts)
        return dict(zip(self.metadata['outputs'], outputs, strict=True))

    @abstractmethod
    def _open(self) -> str | None:
        """Open the file; give the text of the metadata that it holds."""

    def _prepare(self) -> None:  # noqa: B027, nothing to do for some
        """Make it ready to run, once its metadata are known."""

    @abstractmethod
    def _run(self, image: np.ndarray, *prompts: np.ndarray) -> Iterable[np.ndarray]:
        """Run it on a batch that it takes; give the outputs in their order."""
