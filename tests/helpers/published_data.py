"""Small data sets in the layouts in which CamVid, nuclei and Tiny-ImageNet come."""

from pathlib import Path

import numpy as np
from PIL import Image

NUCLEI_SIZE = 48


def write_image(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_camvid(
    root: Path, counts: tuple[int, int, int] = (2, 1, 1), size: tuple = (24, 36)
) -> Path:
    """Images of one colour; each column of a label map has the next label, 0 to 11."""
    labels = np.tile(np.arange(size[1], dtype=np.uint8) % 12, (size[0], 1))
    for split, count in zip(('train', 'val', 'test'), counts):
        for number in range(count):
            image = np.full((*size, 3), (200, 100, 20 * number), np.uint8)
            write_image(root / split / f'{split}_{number}.png', image)
            write_image(root / f'{split}annot' / f'{split}_{number}.png', labels)
    return root


def write_nucleus_image(
    root: Path, name: str, ground: tuple[int, int, int] = (10, 10, 10), size=NUCLEI_SIZE
) -> Path:
    """An opaque image with two bright squares of 8 pixels, each in a mask."""
    image = np.full((size, size, 4), (*ground, 255), np.uint8)
    for number, corner in enumerate((4, 20)):
        square = slice(corner, corner + 8)
        mask = np.zeros((size, size), np.uint8)
        mask[square, square] = 255
        image[square, square, :3] = 180
        write_image(root / name / 'masks' / f'{name}_{number}.png', mask)
    write_image(root / name / 'images' / f'{name}.png', image)
    return root / name


def write_nuclei(root: Path, count: int = 5) -> Path:
    for number in range(count):
        write_nucleus_image(root, f'{number:02d}')
    return root


def write_tiny_imagenet(
    root: Path, wnids: tuple[str, ...], train: int = 2, val: int = 1, size: int = 8
) -> Path:
    """Classes in no order, with held-out images in one folder."""
    lines = []
    for label, wnid in enumerate(wnids):
        image = np.full((size, size, 3), label, np.uint8)
        folder = root / 'train' / wnid
        for number in range(train):
            write_image(folder / 'images' / f'{wnid}_{number}.JPEG', image)
        (folder / f'{wnid}_boxes.txt').write_text('')
        for number in range(val):
            name = f'val_{label}_{number}.JPEG'
            write_image(root / 'val' / 'images' / name, image)
            lines.append(f'{name}\t{wnid}\t0\t0\t7\t7\n')
    (root / 'val' / 'val_annotations.txt').write_text(''.join(lines))
    (root / 'wnids.txt').write_text('\n'.join(reversed(wnids)) + '\n')
    return root
