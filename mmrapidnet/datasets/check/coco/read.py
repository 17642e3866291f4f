"""Reading COCO's JSON, or naming what a file is instead."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

from mmrapidnet.utils.errors import UserError

PARTS = ('images', 'annotations', 'categories')

_AS_COCO = 'export it as COCO'
_IN_VIA = 'export the annotations "as COCO" there'
# Keys that tell an object, with what it is and what to do.
_OBJECTS = (
    (
        {'shapes', 'imagePath'},
        "labelme's own format, a file per image: convert the folder with labelme2coco",
    ),
    ({'_via_img_metadata'}, f'a project of the VGG Image Annotator (VIA): {_IN_VIA}'),
    (
        {'project', 'config', 'attribute', 'file', 'metadata', 'view'},
        f'a project of the VGG Image Annotator (VIA) 3: {_IN_VIA}',
    ),
    ({'items', 'categories'}, "datumaro's own format: export it as coco_instances"),
    ({'objects', 'size'}, f"Supervisely's own format, a file per image: {_AS_COCO}"),
    ({'data_row', 'projects'}, f"Labelbox's own format: {_AS_COCO}"),
)
# Likewise of the first of a list.
_LISTS = (
    ({'image_id', 'category_id', 'score'}, 'a file of results: give the annotations'),
    ({'image', 'annotations'}, f"CreateML's format: {_AS_COCO}"),
    ({'data', 'annotations'}, f"Label Studio's own format: {_AS_COCO}"),
    ({'Labeled Data', 'Label'}, f"Labelbox's own format: {_AS_COCO}"),
)


def read_coco(path: str | Path, annotated: bool = True) -> dict[str, list]:
    """Read an annotation file.

    Args:
        path: The file.
        annotated: Whether objects are needed, which a list of images to predict on
            lacks.  Defaults to True.

    Returns:
        Its content; without objects, ``annotations`` is empty.

    Raises:
        UserError: If it is no such file.
    """
    raw = Path(path).read_bytes()
    try:
        content = json.loads(raw)
    except ValueError as error:
        is_xml = raw.lstrip(codecs.BOM_UTF8 + b' \r\n\t').startswith(b'<')
        hint = f'XML, as of CVAT or Pascal VOC: {_AS_COCO}' if is_xml else None
        raise _refusal(path, f'it is no JSON, {error}', hint) from error
    if not isinstance(content, dict):
        kind = f'it is a {type(content).__name__}'
        raise _refusal(path, kind, _name_format(content))
    if not annotated:
        content.setdefault('annotations', [])
    wrong = [part for part in PARTS if not isinstance(content.get(part), list)]
    if wrong:
        hint = _name_format(content)
        if wrong == ['annotations']:
            hint = (
                'a list of images without objects, as of test-dev: to predict on it, '
                'set format_only=True and outfile_prefix in the evaluator'
            )
        raise _refusal(path, f'it has no list of {" and of ".join(wrong)}', hint)
    annotations = (a for a in content['annotations'] if isinstance(a, dict))
    if any('segments_info' in annotation for annotation in annotations):
        hint = "COCO's panoptic format: use type='CocoPanopticDataset'"
        raise _refusal(path, 'it has segments_info', hint)
    return content


def has_byte_order_mark(path: str | Path) -> bool:
    """Whether a file begins with the mark that some editors put before JSON."""
    with open(path, 'rb') as file:
        return file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8


def _name_format(content: Any) -> str | None:
    """Which tool's own format the content of a JSON file is, and what to do about it.

    Examples:
        >>> _name_format([{'image': 'a.jpg', 'annotations': []}])
        "CreateML's format: export it as COCO"
    """
    first, known = content, _OBJECTS
    if isinstance(content, list):
        first, known = content[0] if content else None, _LISTS
    if not isinstance(first, dict):
        return None
    for keys, what in known:
        if keys <= first.keys():
            return what
    if first is content and _are_images_of_via(first.values()):
        return f'the own format of the VGG Image Annotator (VIA): {_IN_VIA}'
    return None


def _are_images_of_via(values: Any) -> bool:
    return bool(values) and all(
        isinstance(value, dict) and {'filename', 'regions'} <= value.keys()
        for value in values
    )


def _refusal(path: str | Path, reason: str, hint: str | None) -> UserError:
    line = (
        f'{path} is not an annotation file in COCO JSON (images, annotations, '
        f'categories): {reason}'.replace('\n', ' ')
    )
    return UserError(f'{line}; this is {hint}' if hint else line)
