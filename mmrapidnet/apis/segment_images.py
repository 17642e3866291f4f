"""Segment anything in image files: pictures of the masks, and their COCO JSON."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from mmcv.transforms import Compose, LoadImageFromFile
from mmengine.config import Config
from mmengine.visualization import Visualizer
from rich.progress import track

from mmrapidnet.apis.automatic_masks import AutomaticMaskGenerator
from mmrapidnet.apis.inference import find_images
from mmrapidnet.apis.segment_anything import SegmentAnythingPredictor
from mmrapidnet.deploy.preprocess import read_image
from mmrapidnet.engine.visualization import open_picture
from mmrapidnet.utils.atomic import write_atomic
from mmrapidnet.utils.errors import UserError

MASKS = 'masks.json'
# Of objects that no file gives a category.
_OBJECT = {'id': 1, 'name': 'object'}
_DEPTH = 'SAM sees 8 bits a channel: scale the values to 0 to 255 and save it so'


@dataclass(frozen=True)
class Prompts:
    """What is to be segmented in every image; one kind of prompts.

    Args:
        points: What ``--point`` gives: x, and y or 'y,label', of one object's points.
            The label is 1, or 0 for a point outside of the object.
        boxes: (x1, y1, x2, y2) of each object; with points, of the only one.
        boxes_from: Path of a JSON file with boxes: COCO results, whose ``image_id`` is
            an image's name without its suffix, or a COCO data set.
        everything: Whether all there is in an image is meant.
        score_thr: Boxes of COCO results with a lower score are left out.

    Raises:
        UserError: If there is no prompt, there are two kinds, or there are points and
            several boxes.

    Examples:
        >>> Prompts(points=[('500', '375'), ('80', '20,0')]).read_points()
        ([[500.0, 375.0], [80.0, 20.0]], [1, 0])
    """

    points: Sequence[tuple[str, str]] = ()
    boxes: Sequence[Sequence[float]] = ()
    boxes_from: str | None = None
    everything: bool = False
    score_thr: float = 0.3

    def __post_init__(self) -> None:
        drawn = bool(self.points or self.boxes)
        kinds = drawn + (self.boxes_from is not None) + self.everything
        if kinds == 0:
            raise UserError(
                'there is no prompt: give --point, --box, --boxes-from or --everything'
            )
        if kinds > 1:
            raise UserError(
                'give one kind of prompts: --point and --box, --boxes-from or '
                '--everything'
            )
        if self.points and len(self.boxes) > 1:
            raise UserError(
                f'points are of one object, but there are {len(self.boxes)} boxes: '
                'give one box with points'
            )
        self.read_points()

    def read_points(self) -> tuple[list[list[float]], list[int]]:
        """The coordinates of the points and their labels.

        Raises:
            UserError: If one is no point.
        """
        coords, labels = [], []
        for x, y in self.points:
            y, _, label = y.partition(',')
            try:
                coords.append([float(x), float(y)])
                labels.append(int(label or 1))
            except ValueError as error:
                raise UserError(
                    f'--point {x} {y}{label and f",{label}"} is no point: give X Y, or '
                    'X Y,0 for one outside of the object'
                ) from error
        return coords, labels


def segment_images(
    config: str | Config | None,
    checkpoint: str | None,
    inputs: Sequence[str],
    out_dir: str,
    prompts: Prompts,
    device: str | None = None,
    encoder: str | None = None,
    decoder: str | None = None,
) -> tuple[int, int]:
    """Segment what prompts mean in images, draw it and write it as COCO JSON.

    Args:
        config: The config of a `SegmentAnything` model, or its path.
        checkpoint: Path of its weights.
        inputs: Images, or folders of images.
        out_dir: Pictures go to ``out_dir/vis``, masks to ``out_dir/masks.json``.
        prompts: What to segment, the same in every image.
        device: Such as 'cpu' or 'cuda:0'. Defaults to None: a GPU if there is one.
        encoder: Instead of config and checkpoint, an exported encoder.
        decoder: With it, an exported decoder.

    Returns:
        The number of masks and of images.

    Raises:
        UserError: If there is nothing to read, an image cannot be read, a prompt does
            not fit an image, or the model cannot be loaded.
    """
    out = Path(out_dir)
    pictures = find_images(inputs, out / 'vis')
    given, categories = _read_boxes(prompts, pictures)
    predictor = SegmentAnythingPredictor(config, checkpoint, device, encoder, decoder)
    reader = Compose([LoadImageFromFile()])
    images, annotations, visualizer = [], [], Visualizer()
    # Of everything in a single image, the points are counted instead.
    alone = len(pictures) == 1 and prompts.everything
    shown = track(pictures.items(), 'Images', disable=alone)
    for number, (path, picture) in enumerate(shown, 1):
        pixels = mmcv.bgr2rgb(read_image(reader, path, _DEPTH)['img'])
        height, width = pixels.shape[:2]
        images.append(dict(id=number, file_name=path, width=width, height=height))
        try:
            found = _segment(predictor, pixels, prompts, given.get(path, ()), alone)
        except UserError as error:
            raise UserError(f'{path}: {error}') from error
        for record in found:
            key = len(annotations) + 1
            annotations.append(dict(id=key, image_id=number, iscrowd=0, **record))
        boxes = prompts.boxes or [record['box'] for record in given.get(path, ())]
        _draw_masks(visualizer, pixels, found)
        _draw_prompts(visualizer, *prompts.read_points(), boxes)
        with open_picture(picture) as file:
            mmcv.imwrite(mmcv.rgb2bgr(visualizer.get_image()), file)
    content = dict(images=images, annotations=annotations, categories=categories)
    try:
        write_atomic(out / MASKS, json.dumps(content).encode())
    except OSError as error:
        raise UserError(f'{out / MASKS} cannot be written: {error}') from error
    return len(annotations), len(images)


def _read_boxes(
    prompts: Prompts, paths: Collection[str]
) -> tuple[dict[str, list[dict[str, Any]]], list[dict[str, Any]]]:
    """The boxes of each image in ``boxes_from``, and all categories."""
    source = prompts.boxes_from
    if source is None:
        return {}, [_OBJECT]
    try:
        content = json.loads(Path(source).read_bytes())
        boxes, categories = _parse_boxes(content, prompts.score_thr)
    except OSError as error:
        raise UserError(f'{source} cannot be read: {error.strerror}') from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f'{source} holds neither COCO results nor a COCO data set with boxes: '
            f'{type(error).__name__}: {error}'
        ) from error
    if isinstance(content, dict):
        _refuse_repeated((image['file_name'] for image in content['images']), source)
    found = {
        path: boxes[_normalise(path)] for path in paths if _normalise(path) in boxes
    }
    _refuse_repeated(found, source)
    if not found:
        raise UserError(
            f'{source} has no box of {next(iter(paths))} or the others: its image_id '
            'or file_name is to be the name of an image'
        )
    return found, categories


def _parse_boxes(
    content: Any, score_thr: float
) -> tuple[dict[str, list[dict[str, Any]]], list[dict[str, Any]]]:
    """The boxes by the name of their image, and all categories."""
    if isinstance(content, dict):
        names = {image['id']: image['file_name'] for image in content['images']}
        records, categories = content['annotations'], content['categories']
    else:
        names = {record['image_id']: str(record['image_id']) for record in content}
        records = [r for r in content if r.get('score', 1) >= score_thr]
        ids = sorted({record['category_id'] for record in content})
        categories = [dict(id=number, name=str(number)) for number in ids]
    boxes = defaultdict(list)
    for record in records:
        x, y, width, height = record['bbox']
        boxes[_normalise(names[record['image_id']])].append(
            dict(box=[x, y, x + width, y + height], category_id=record['category_id'])
        )
    return boxes, categories


def _refuse_repeated(names: Iterable[str], source: str) -> None:
    """Raise if images share a base name, by which they are given their boxes."""
    same = defaultdict(set)
    for name in names:
        same[_normalise(name)].add(name)
    for alike in same.values():
        if len(alike) > 1:
            first, second = sorted(alike)[:2]
            raise UserError(
                f'{source} gives boxes to images by their names without folders, '
                f'which {first} and {second} share: rename one'
            )


def _normalise(name: str) -> str:
    """The name of an image without folder, suffix and leading zeros.

    Examples:
        >>> _normalise('val2017/000000000139.jpg'), _normalise('139')
        ('139', '139')
    """
    stem = Path(name).stem
    return str(int(stem)) if stem.isdecimal() else stem


def _segment(
    predictor: SegmentAnythingPredictor,
    pixels: np.ndarray,
    prompts: Prompts,
    given: Sequence[dict[str, Any]],
    show_progress: bool,
) -> list[dict[str, Any]]:
    """COCO's records of the masks of an image, without their ids."""
    if prompts.everything:
        return _segment_everything(predictor, pixels, show_progress)
    predictor.set_image(pixels)
    if prompts.points:
        return [_segment_points(predictor, prompts)]
    if prompts.boxes:
        given = [dict(box=box, category_id=_OBJECT['id']) for box in prompts.boxes]
    if not given:
        return []
    boxes = [record['box'] for record in given]
    masks, ious, _ = predictor.predict_batch(boxes=boxes, multimask_output=False)
    return [
        _make_record(mask, iou, record['category_id'])
        for mask, iou, record in zip(masks[:, 0], ious[:, 0], given)
    ]


def _segment_everything(
    predictor: SegmentAnythingPredictor, pixels: np.ndarray, show_progress: bool
) -> list[dict[str, Any]]:
    generator = AutomaticMaskGenerator(
        predictor, output_mode='coco_rle', show_progress=show_progress
    )
    same = ('segmentation', 'area', 'bbox', 'stability_score')
    return [
        dict(
            category_id=_OBJECT['id'],
            score=record['predicted_iou'],
            **{name: record[name] for name in same},
        )
        for record in generator.generate(pixels)
    ]


def _segment_points(
    predictor: SegmentAnythingPredictor, prompts: Prompts
) -> dict[str, Any]:
    coords, labels = prompts.read_points()
    box = prompts.boxes[0] if prompts.boxes else None
    # What a single click means is open: the best of three masks.
    several = len(coords) == 1 and box is None
    masks, ious, _ = predictor.predict(coords, labels, box, multimask_output=several)
    best = int(ious.argmax())
    return _make_record(masks[best], ious[best], _OBJECT['id'])


def _make_record(mask: np.ndarray, iou: float, category: int) -> dict[str, Any]:
    from pycocotools import mask as coco_mask

    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return dict(
        category_id=category,
        segmentation=dict(size=rle['size'], counts=rle['counts'].decode()),
        area=int(coco_mask.area(rle)),
        bbox=coco_mask.toBbox(rle).tolist(),
        score=float(iou),
    )


def _draw_masks(
    visualizer: Visualizer, pixels: np.ndarray, records: list[dict[str, Any]]
) -> None:
    from pycocotools import mask as coco_mask

    visualizer.set_image(pixels)
    if records:
        masks = [coco_mask.decode(record['segmentation']) for record in records]
        random = np.random.RandomState(0)
        colours = random.randint(0, 256, (len(masks), 3)).tolist()
        visualizer.draw_binary_masks(
            np.stack(masks).astype(bool), colors=[tuple(c) for c in colours], alphas=0.6
        )


def _draw_prompts(
    visualizer: Visualizer,
    points: Sequence[Sequence[float]],
    labels: Sequence[int],
    boxes: Sequence[Sequence[float]],
) -> None:
    """Points of an object in green, those outside of it in red; boxes in white."""
    if boxes:
        visualizer.draw_bboxes(np.array(boxes), edge_colors='w')
    if points:
        colours = ['lime' if label else 'red' for label in labels]
        visualizer.draw_points(np.array(points), colours, sizes=np.array([60]))
