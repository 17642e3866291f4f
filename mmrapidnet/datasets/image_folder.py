"""Images alone, without annotations."""

from __future__ import annotations

import os
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from mmrapidnet.datasets.check.files import images_below
from mmrapidnet.utils.errors import UserError


@DATASETS.register_module()
class ImageFolder(BaseDataset):
    """The images in a folder and below it, in the order of their names.

    Each has its path as ``img_path``, and as ``img_name`` its path below the folder.
    Its arguments are those of mmengine's ``BaseDataset``; ``data_prefix['img_path']``,
    or else ``data_root``, is the folder.

    Raises:
        UserError: When it is read, if there is no such folder or no image in it.
    """

    def load_data_list(self) -> list[dict[str, Any]]:
        """List the images."""
        folder = self.data_prefix['img_path']
        if not os.path.isdir(folder):
            raise UserError(
                f'there is no folder {folder}: give the folder of the images as '
                'data_root (--data-root)'
            )
        found = [
            dict(img_path=path, img_name=os.path.relpath(path, folder))
            for path in images_below(folder)
        ]
        if not found:
            raise UserError(f'the folder {folder} holds no image')
        return found
