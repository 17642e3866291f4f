"""A scene's annotations as COCO and as ADE20K have them."""

from typing import Any

import cv2
import numpy as np

from mmrapidnet.datasets.coco_mask import describe_mask
from mmrapidnet.datasets.shapes.scene import CLASSES, Scene

UNLABELLED = 0
BACKGROUND = 1


def coco_categories() -> list[dict[str, Any]]:
    """Categories with ids from 1, in the order of ``CLASSES``."""
    return [
        {'id': index, 'name': name, 'supercategory': 'shape'}
        for index, name in enumerate(CLASSES, start=1)
    ]


def coco_annotations(
    scene: Scene, image_id: int, first_id: int
) -> list[dict[str, Any]]:
    """Instance annotations of one image.

    Masks are run-length encoded, crowds or not: polygons would only approximate
    the visible part and cannot have holes. ``occlusion``, an extra key, is the
    share of the object inside the image that others hide.

    Args:
        scene: The scene.
        image_id: Id of the image.
        first_id: Id of the first annotation; the others follow.

    Returns:
        One dict an instance, ``bbox`` (x, y, width, height) and ``area`` in pixels.
    """
    annotations = []
    for index, instance in enumerate(scene.instances):
        record = describe_mask(scene.mask(index))
        annotations.append(
            {
                'id': first_id + index,
                'image_id': image_id,
                'category_id': instance.label + 1,
                'iscrowd': int(instance.iscrowd),
                **record,
                'occlusion': round(1 - record['area'] / instance.full_area, 4),
            }
        )
    return annotations


def ade_label_map(scene: Scene) -> np.ndarray:
    """Label map of one image.

    Args:
        scene: The scene.

    Returns:
        uint8, (H, W): 1 for background, 2 to 7 for the classes, and 0, unlabelled,
        in a band two pixels wide along every outline, where pixels are mixed.
    """
    labels = [BACKGROUND] + [BACKGROUND + 1 + i.label for i in scene.instances]
    label_map = np.array(labels, np.uint8)[scene.owner]
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    outline = cv2.dilate(scene.owner, cross) != cv2.erode(scene.owner, cross)
    label_map[outline] = UNLABELLED
    return label_map
