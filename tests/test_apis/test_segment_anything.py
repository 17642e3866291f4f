"""The predictor and the automatic masks give what segment-anything's own give."""

import numpy as np
import pytest
import torch
from helpers import tiny_models, tiny_sam
from mmengine.config import Config
from pycocotools import mask as coco_mask

from dev.segment_anything_speed import as_package_model
from mmrapidnet.apis import AutomaticMaskGenerator, SegmentAnythingPredictor
from mmrapidnet.models import SegmentAnything
from mmrapidnet.utils.errors import UserError

SIZE = tiny_sam.IMAGE_SIZE
HEIGHT, WIDTH = 150, 200
POINTS = dict(point_coords=[[60, 70], [150, 30]], point_labels=[1, 0])
BOX = dict(box=[20, 30, 120, 140])
MASK = dict(mask_input=np.random.default_rng(0).normal(0, 4, (1, SIZE // 4, SIZE // 4)))
PROMPTS = {
    'points': POINTS,
    'box': BOX,
    'a box in a batch of one': dict(box=[BOX['box']], multimask_output=False),
    'box and points': {**POINTS, **BOX},
    'mask and points': {**POINTS, **MASK},
    'mask': MASK,
    'logits': dict(**BOX, return_logits=True),
}


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return tiny_sam.write(tmp_path_factory.mktemp('sam'))


@pytest.fixture(scope='module')
def predictor(files):
    return SegmentAnythingPredictor(*files, device='cpu')


@pytest.fixture
def ready(predictor):
    """The predictor, with an image."""
    predictor.set_image(tiny_sam.draw_image(HEIGHT, WIDTH))
    return predictor


@pytest.fixture(scope='module')
def sam(predictor):
    """The same model as segment-anything has it."""
    return as_package_model(predictor.model)


# ------------------------------------------------------------- the predictor


@pytest.mark.parametrize('size', [(HEIGHT, WIDTH), (90, 40), (SIZE, SIZE)])
@pytest.mark.parametrize('image_format', ['RGB', 'BGR'])
def test_image_is_seen_as_by_the_package(predictor, sam, size, image_format):
    from segment_anything import SamPredictor

    image, theirs = tiny_sam.draw_image(*size), SamPredictor(sam)
    predictor.set_image(image, image_format)
    theirs.set_image(image, image_format)
    box = np.array([5, 10, 30, 35])
    assert_equal(predictor.predict(box=box), theirs.predict(box=box))


@pytest.mark.parametrize('prompts', PROMPTS.values(), ids=PROMPTS)
def test_prompts_mean_what_they_mean_to_the_package(ready, sam, prompts):
    from segment_anything import SamPredictor

    theirs = SamPredictor(sam)
    theirs.set_image(tiny_sam.draw_image(HEIGHT, WIDTH))
    arrays = {
        name: np.array(value) if isinstance(value, list) else value
        for name, value in prompts.items()
    }
    ours, expected = ready.predict(**prompts), theirs.predict(**arrays)
    assert ours[0].shape[-2:] == (HEIGHT, WIDTH)
    assert_equal(ours, expected)


def assert_equal(ours, theirs):
    for mine, expected in zip(ours, theirs, strict=True):
        assert (mine.shape, mine.dtype) == (expected.shape, expected.dtype)
    masks, expected = ours[0], theirs[0]
    if masks.dtype == bool:
        assert expected.any() and not expected.all()
        assert (masks != expected).mean() < 1e-4
    else:
        np.testing.assert_allclose(masks, expected, atol=1e-3)
    np.testing.assert_allclose(ours[1], theirs[1], atol=1e-4)
    np.testing.assert_allclose(ours[2], theirs[2], atol=1e-3)


def test_many_objects_in_one_call(ready):
    boxes = np.array([[10, 10, 60, 60], [20, 30, 120, 140], [100, 5, 190, 145]])
    points = np.array([[[30, 30], [50, 50]], [[60, 70], [0, 0]], [[150, 30], [120, 9]]])
    labels = np.array([[1, 0], [1, -1], [1, 1]])
    masks, ious, logits = ready.predict_batch(points, labels, boxes)
    assert masks.shape == (3, 3, HEIGHT, WIDTH)
    assert (ious.shape, logits.shape) == ((3, 3), (3, 3, SIZE // 4, SIZE // 4))
    for i, (box, coords) in enumerate(zip(boxes, points)):
        real = labels[i] >= 0
        one = ready.predict(coords[real], labels[i][real], box)
        if real.all():
            assert_equal((masks[i], ious[i], logits[i]), one)
    first = ready.predict_batch(boxes=boxes, multimask_output=False)
    assert first[0].shape == (3, 1, HEIGHT, WIDTH)
    none = ready.predict_batch(boxes=np.zeros((0, 4)))
    assert none[0].shape == (0, 3, HEIGHT, WIDTH)


# ------------------------------------------------------------- automatic masks


def suppress(boxes, scores, idxs, iou_threshold):
    """`torchvision.ops.batched_nms` of one class, which needs torchvision's kernels."""
    boxes, kept = boxes.double().numpy(), []
    corners = boxes.reshape(-1, 2, 2)
    areas = (corners[:, 1] - corners[:, 0]).prod(1)
    for i in (
        torch.as_tensor(scores).sort(descending=True, stable=True).indices.tolist()
    ):
        low = np.maximum(corners[kept, 0], corners[i, 0])
        high = np.minimum(corners[kept, 1], corners[i, 1])
        shared = (high - low).clip(0).prod(1)
        union = areas[kept] + areas[i] - shared
        if not (shared > iou_threshold * union).any():
            kept.append(i)
    return torch.tensor(kept, dtype=torch.long)


# What suits masks of random weights.
LOOSE = dict(
    points_per_side=6,
    pred_iou_thresh=0.0,
    stability_score_thresh=0.3,
    stability_score_offset=0.2,
    box_nms_thresh=0.9,
)
SETTINGS = {
    'plain': dict(LOOSE, pred_iou_thresh=0.1),
    'odd batches': dict(LOOSE, points_per_batch=7, output_mode='coco_rle'),
    'crops': dict(
        LOOSE,
        crop_n_layers=1,
        stability_score_thresh=0.1,
        output_mode='uncompressed_rle',
    ),
    'small regions': dict(LOOSE, min_mask_region_area=8),
    'a grid': dict(
        LOOSE,
        points_per_side=None,
        point_grids=[np.array([[0.2, 0.3], [0.7, 0.6]])],
    ),
    'nothing passes': dict(points_per_side=2, pred_iou_thresh=9.0),
}


@pytest.mark.parametrize('name', SETTINGS)
def test_automatic_masks_are_those_of_the_package(predictor, sam, name, monkeypatch):
    from segment_anything import SamAutomaticMaskGenerator, automatic_mask_generator

    monkeypatch.setattr(automatic_mask_generator, 'batched_nms', suppress)
    settings, image = SETTINGS[name], tiny_sam.draw_image(HEIGHT, WIDTH)
    theirs = SamAutomaticMaskGenerator(sam, **settings).generate(image)
    ours = AutomaticMaskGenerator(predictor, **settings).generate(image)
    assert len(ours) == len(theirs)
    assert bool(ours) != (name == 'nothing passes')
    assert name != 'crops' or len({str(r['crop_box']) for r in ours}) > 1
    for record, expected in zip(ours, theirs):
        assert record.keys() == expected.keys()
        assert (to_mask(record) != to_mask(expected)).mean() < 1e-4
        assert record['area'] == to_mask(record).sum()
        for key in ('area', 'bbox', 'crop_box', 'point_coords'):
            np.testing.assert_allclose(record[key], expected[key], atol=1)
        for key in ('predicted_iou', 'stability_score'):
            assert record[key] == pytest.approx(expected[key], abs=1e-3)


def to_mask(record):
    mask, mode = record['segmentation'], type(record['segmentation'])
    if mode is np.ndarray:
        return mask
    if isinstance(mask['counts'], list):
        mask = coco_mask.frPyObjects(mask, *mask['size'])
    return coco_mask.decode(mask).astype(bool)


# ------------------------------------------------------------- bad input

BAD = {
    'there is no prompt': {},
    'point_coords without point_labels': dict(point_coords=[[1, 2]]),
    'point_labels without point_coords': dict(point_labels=[1]),
    '1 x 2 points have 1 x 1 labels': dict(
        point_coords=[[1, 2], [3, 4]], point_labels=[1]
    ),
    'label 2: give 1': dict(point_coords=[[1, 2]], point_labels=[2]),
    'the point 201 5 is outside of the image, which has 200 x 150 pixels': dict(
        point_coords=[[201, 5]], point_labels=[1]
    ),
    'the point -1 5 is outside': dict(point_coords=[[-1, 5]], point_labels=[0]),
    'the box 10 20 10 40 has no size': dict(box=[10, 20, 10, 40]),
    'the box 30 20 10 40 has no size': dict(box=[30, 20, 10, 40]),
    'the box 200 20 220 40 is outside': dict(box=[200, 20, 220, 40]),
    r'boxes has shape \(1, 3\): expected \(B, 4\)': dict(box=[1, 2, 3]),
    'boxes is no array of numbers': dict(box=['a', 'b', 'c', 'd']),
    'boxes has values that are not finite': dict(box=[0, 0, 9, float('nan')]),
    r'mask_input has shape \(1, 1, 8, 8\)': dict(mask_input=np.zeros((1, 8, 8))),
}


@pytest.mark.parametrize('message', BAD)
def test_bad_prompts(ready, message):
    with pytest.raises(UserError, match=message) as caught:
        ready.predict(**BAD[message])
    assert '\n' not in str(caught.value)


def test_prompts_of_different_counts(ready):
    with pytest.raises(UserError, match='are of 1, 2 objects: give as many of each'):
        ready.predict_batch([[[1, 2]]], [[1]], [[1, 2, 3, 4], [5, 6, 7, 8]])


def test_points_and_boxes_at_the_edge_are_inside(ready):
    edge = dict(point_coords=[[WIDTH, HEIGHT], [0, 0]], point_labels=[1, 1])
    masks, _, _ = ready.predict(**edge, box=[-5, 10, WIDTH + 3.5, HEIGHT + 1])
    assert masks.shape == (3, HEIGHT, WIDTH)


def test_prompts_before_an_image(predictor):
    predictor.reset_image()
    with pytest.raises(UserError, match='no image is set: call set_image'):
        predictor.predict(**BOX)
    with pytest.raises(UserError, match='no image is set'):
        predictor.get_image_embedding()


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (np.zeros((1, 1, 3), np.uint8), 'has 1 x 1 pixels, in which nothing can be'),
        (np.zeros((2, 999, 3), np.uint8), 'has 999 x 2 pixels, in which nothing'),
        (np.zeros((9, 9), np.uint8), r'has shape \(9, 9\) and type uint8: give'),
        (np.zeros((9, 9, 3)), r'has shape \(9, 9, 3\) and type float64: give'),
        ('image.jpg', 'the image is a str: give a numpy array'),
    ],
)
def test_bad_images(predictor, image, message):
    with pytest.raises(UserError, match=message):
        predictor.set_image(image)
    with pytest.raises(UserError, match=message):
        AutomaticMaskGenerator(predictor).generate(image)


def test_bad_image_format(predictor):
    with pytest.raises(UserError, match="image_format='HSV': choose RGB or BGR"):
        predictor.set_image(tiny_sam.draw_image(20, 20), 'HSV')


def test_bad_settings_of_automatic_masks(predictor):
    with pytest.raises(UserError, match='give either points_per_side or point_grids'):
        AutomaticMaskGenerator(predictor, points_per_side=None)
    with pytest.raises(UserError, match="output_mode='png': choose binary_mask"):
        AutomaticMaskGenerator(predictor, output_mode='png')


def test_models_of_ones_own(files):
    class Own(SegmentAnything):
        pass

    for kind in (Own, SegmentAnything):
        cfg = Config(dict(model=dict(tiny_sam.MODEL, type=kind)))
        predictor = SegmentAnythingPredictor(cfg, files[1], device='cpu')
        assert type(predictor.model) is kind


def test_other_models(files, tmp_path):
    config, checkpoint = files
    detector = tiny_models.write_config('detector', tmp_path)
    with pytest.raises(UserError, match='is the config of a MaskRCNN: give one of a'):
        SegmentAnythingPredictor(detector, checkpoint)
    with pytest.raises(UserError, match='is the config of a None'):
        SegmentAnythingPredictor(Config(dict()), checkpoint)
    state = {'roi_head.bbox_head.fc_cls.weight': torch.zeros(2, 2)}
    torch.save({'state_dict': state}, tmp_path / 'detector.pth')
    with pytest.raises(UserError, match='matches nothing of SegmentAnything') as caught:
        SegmentAnythingPredictor(config, tmp_path / 'detector.pth')
    assert '\n' not in str(caught.value)
    with pytest.raises(UserError, match='--device cuda:7: PyTorch has no such device'):
        SegmentAnythingPredictor(config, checkpoint, device='cuda:7')
