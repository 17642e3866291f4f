"""Small data sets into which defects are planted, each on an image of its own."""

import io
import json
import tempfile
from copy import deepcopy
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from PIL import Image

from helpers import tiny_models
from mmrapidnet.config.load import load_config, move_data_root
from mmrapidnet.datasets.shapes import CLASSES

HEIGHT, WIDTH = 64, 96
SQUARE = [10, 10, 30, 10, 30, 30, 10, 30]
ORIENTATION = 0x0112
TURN = 6  # clockwise


def picture(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A smooth RGB image that is the same nowhere."""
    small = np.random.default_rng(0).integers(0, 255, (5, 6, 3), np.uint8)
    return cv2.resize(small, (width, height))


def encode(
    image: np.ndarray, kind: str = 'JPEG', mode: str = 'RGB', **options
) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def sixteen_bits(image: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel."""
    wide = image.astype(np.uint16) * 257
    return cv2.imencode('.png', wide[..., ::-1] if wide.ndim == 3 else wide)[
        1
    ].tobytes()


def turned() -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = TURN
    return encode(picture(), exif=exif)


JPEG = encode(picture(), quality=95)
# Name: the file's bytes (None: no file) and its size as it is read.
FILES = {
    'truncated': (JPEG[: len(JPEG) // 2], (HEIGHT, WIDTH)),
    'zero_bytes': (b'', (HEIGHT, WIDTH)),
    'text': (b'no image at all', (HEIGHT, WIDTH)),
    'missing': (None, (HEIGHT, WIDTH)),
    'cmyk': (encode(picture(), mode='CMYK', quality=95), (HEIGHT, WIDTH)),
    'grey': (encode(picture(), mode='L', quality=95), (HEIGHT, WIDTH)),
    'sixteen_bits': (sixteen_bits(picture()), (HEIGHT, WIDTH)),
    'exif': (turned(), (WIDTH, HEIGHT)),
    'one_wide': (encode(picture(HEIGHT, 1)), (HEIGHT, 1)),
    'wide': (encode(picture(200, 12_000)), (200, 12_000)),
    'thin': (encode(picture(HEIGHT, 12_000)), (HEIGHT, 12_000)),
}
# Name: the kind of problem the file is, and whether it stops a run.
FILE_KINDS = {
    'truncated': ('image cannot be decoded', True),
    'zero_bytes': ('empty image file', True),
    'text': ('image cannot be decoded', True),
    'missing': ('missing image', True),
    'cmyk': ('CMYK image', False),
    'grey': ('grey image', False),
    'sixteen_bits': ('image of 16 bits', False),
    'exif': ('image with an Exif orientation', False),
    'one_wide': ('image one pixel wide or high', False),
    'wide': ('image over 10,000 pixels wide or high', False),
    'thin': ('image too thin to resize', True),
}


def load(kind: str, root: Path) -> Config:
    """The config of a small 'detector' or 'segmenter' with its data in a folder."""
    cfg = deepcopy(_config(kind))
    move_data_root(cfg, str(root))
    return cfg


def tell_classes(cfg: Config, classes: tuple[str, ...]) -> None:
    """Give a detector's data sets other classes, and its heads as many."""
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.metainfo = dict(classes=classes)
    for head in ('bbox_head', 'mask_head'):
        cfg.model.roi_head[head].num_classes = len(classes)


@cache
def _config(kind: str) -> Config:
    # Reading it takes longer than most tests.
    with tempfile.TemporaryDirectory() as folder:
        return load_config(str(tiny_models.write_config(kind, Path(folder))))


class CocoSplit:
    """A split in COCO's layout, with the classes of Shapes."""

    def __init__(self, root: Path, split: str) -> None:
        self.folder = root / f'{split}2017'
        self.path = root / 'annotations' / f'instances_{split}2017.json'
        for folder in (self.folder, self.path.parent):
            folder.mkdir(parents=True, exist_ok=True)
        categories = [{'id': i, 'name': n} for i, n in enumerate(CLASSES, 1)]
        self.content = {'images': [], 'annotations': [], 'categories': categories}

    def image(self, name, content=JPEG, size=(HEIGHT, WIDTH), **changes) -> dict:
        """Add an image and a record of it."""
        if content is not None:
            (self.folder / f'{name}.jpg').write_bytes(content)
        record = {
            'id': len(self.content['images']) + 1,
            'file_name': f'{name}.jpg',
            'height': size[0],
            'width': size[1],
            **changes,
        }
        self.content['images'].append(record)
        return record

    def annotation(self, image: dict, **changes) -> dict:
        """Add a square on an image, but for the changes; None takes a field away."""
        record = {
            'id': len(self.content['annotations']) + 101,
            'image_id': image['id'],
            'category_id': 1,
            'bbox': [10, 10, 20, 20],
            'area': 400,
            'iscrowd': 0,
            'segmentation': [list(SQUARE)],
            **changes,
        }
        record = {key: value for key, value in record.items() if value is not None}
        self.content['annotations'].append(record)
        return record

    def file(self, name: str) -> None:
        """Add one of FILES, with a good annotation."""
        image = self.image(name, *FILES[name])
        width = min(FILES[name][1][1], 20)
        mask = [[0, 1, width, 1, width, 7, 0, 7]]
        self.annotation(image, bbox=[0, 1, width, 6], segmentation=mask)

    def write(self) -> Path:
        self.path.write_text(json.dumps(self.content))
        return self.path
