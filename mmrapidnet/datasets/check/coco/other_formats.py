"""Annotation files that are not COCO's: what wrote them, and what to export instead."""

from __future__ import annotations

from typing import Any

_AS_COCO = 'export it as COCO'
# Keys that tell an object: what it is, and what to do.
_OF_OBJECTS = (
    (
        {'shapes', 'imagePath'},
        "labelme's own format, a file per image",
        'convert the folder with labelme2coco',
    ),
    (
        {'_via_img_metadata'},
        'a project of the VGG Image Annotator (VIA)',
        'export the annotations "as COCO" there',
    ),
    (
        {'project', 'config', 'attribute', 'file', 'metadata', 'view'},
        'a project of the VGG Image Annotator (VIA) 3',
        'export the annotations "as COCO" there',
    ),
    ({'items', 'categories'}, "datumaro's own format", 'export it as coco_instances'),
    ({'objects', 'size'}, "Supervisely's own format, a file per image", _AS_COCO),
    ({'data_row', 'projects'}, "Labelbox's own format", _AS_COCO),
)
# Likewise of the first of a list.
_OF_LISTS = (
    ({'image_id', 'category_id', 'score'}, 'a file of results', 'give the annotations'),
    ({'image', 'annotations'}, "CreateML's format", _AS_COCO),
    ({'data', 'annotations'}, "Label Studio's own format", _AS_COCO),
    ({'Labeled Data', 'Label'}, "Labelbox's own format", _AS_COCO),
)


def name_format(content: Any) -> str | None:
    """Say which tool's own format the content of a JSON file is.

    Args:
        content: What was read.

    Returns:
        The format and what to do about it; None if it is not known.

    Examples:
        >>> name_format({'shapes': [], 'imagePath': 'a.jpg', 'version': '5.4.1'})
        "labelme's own format, a file per image: convert the folder with labelme2coco"
    """
    if isinstance(content, list):
        first, known = content[0] if content else None, _OF_LISTS
    else:
        first, known = content, _OF_OBJECTS
    if not isinstance(first, dict):
        return None
    for keys, what, advice in known:
        if keys <= first.keys():
            return f'{what}: {advice}'
    if known is _OF_OBJECTS and _is_via(first):
        return (
            'the own format of the VGG Image Annotator (VIA): export the annotations '
            '"as COCO" there'
        )
    return None


def name_text(content: bytes) -> str | None:
    """Say what a file is that is no JSON.

    Args:
        content: The file.

    Returns:
        What it is and what to do about it; None if it is not known.

    Examples:
        >>> name_text(b'<?xml version="1.0"?><annotations/>')
        'XML, as of CVAT or Pascal VOC: export it as COCO'
    """
    if content.lstrip(b'\xef\xbb\xbf \r\n\t').startswith(b'<'):
        return f'XML, as of CVAT or Pascal VOC: {_AS_COCO}'
    return None


def _is_via(content: dict[str, Any]) -> bool:
    """Whether each value is an image with its regions."""
    values = list(content.values())
    return bool(values) and all(
        isinstance(value, dict) and {'filename', 'regions'} <= value.keys()
        for value in values
    )
