"""Final results from plain arrays, held to mmseg's and mmdet's own."""

import numpy as np
import pytest
import torch
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.seg_heads import HeuristicFusionHead
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from mmseg.models.utils import resize
from torch.nn import functional as F

from mmrapidnet.deploy import postprocess


def smooth_logits(classes, height, width, smoothness):
    """Random logits that change slowly over the map, as trained ones do."""
    generator = torch.Generator().manual_seed(classes)
    small = (1, classes, -(-height // smoothness), -(-width // smoothness))
    coarse = torch.randn(small, generator=generator)
    return F.interpolate(coarse, size=(height, width), mode='bicubic')[0].numpy()


def resize_like_mmseg(logits, sizes, align_corners):
    maps = torch.from_numpy(logits)[None]
    for size in sizes:
        maps = resize(maps, size, None, 'bilinear', align_corners, warning=False)
    return maps[0]


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize(
    ('shape', 'smoothness', 'sizes'),
    [
        ((150, 32, 44), 8, [(128, 176), (128, 171)]),
        ((150, 32, 44), 1, [(128, 176), (97, 301)]),
        ((7, 13, 17), 4, [(50, 66), (25, 31)]),
        ((7, 13, 17), 4, [(50, 66), (50, 66)]),
        ((5, 3, 5), 1, [(12, 20), (7, 7)]),
        ((9, 21, 30), 2, [(10, 40), (33, 11)]),
    ],
)
def test_label_map_equals_mmsegs(shape, smoothness, sizes, align_corners):
    logits = smooth_logits(*shape, smoothness)
    expected = resize_like_mmseg(logits, sizes, align_corners).argmax(dim=0)
    labels = postprocess.label_map(logits, sizes, align_corners)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, expected.numpy())


def test_of_equal_logits_the_first_class_is_taken():
    assert (postprocess.label_map(np.ones((4, 6, 6)), [(12, 12)]) == 0).all()


def test_classes_that_lose_everywhere_are_not_resized():
    logits = smooth_logits(20, 32, 44, 8)
    logits[5:] -= 20
    assert set(postprocess._candidates(torch.from_numpy(logits), (64, 88))) <= set(
        range(5)
    )
    # A class that wins nowhere in the map itself, but does between its pixels.
    logits = np.full((3, 8, 8), -9.0, dtype=np.float32)
    logits[0, :, 0::2] = 1
    logits[1, :, 1::2] = 1
    logits[2] = 0.5
    labels = postprocess.label_map(logits, [(8, 32)])
    expected = resize_like_mmseg(logits, [(8, 32)], False).argmax(dim=0).numpy()
    assert (labels == 2).any()
    np.testing.assert_array_equal(labels, expected)


def test_label_map_without_the_padding():
    """As mmdet resizes logits of stuff: to the padded image, cut, to the picture."""
    logits = smooth_logits(5, 16, 24, 4)
    enlarged = resize_like_mmseg(logits, [(64, 96)], False)[:, :51, :77].numpy()
    expected = resize_like_mmseg(enlarged, [(102, 154)], False).argmax(dim=0).numpy()
    labels = postprocess.label_map(logits, [(64, 96), (102, 154)], crop=(51, 77))
    np.testing.assert_array_equal(labels, expected)
    assert len(np.unique(labels)) == 5


@pytest.mark.parametrize('mask_overlap', [0.5, 0.1, 1.0])
def test_panoptic_maps_equal_mmdets(mask_overlap):
    generator = torch.Generator().manual_seed(0)
    stuff = smooth_logits(4, 40, 60, 20)
    corners = torch.rand(12, 2, 2, generator=generator) * torch.tensor([60, 40])
    boxes = torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)
    masks = postprocess.paste_masks(np.ones((12, 28, 28)), boxes.numpy(), (40, 60))
    masks[5] = masks[2]  # covered by another, and nothing at all
    masks[7] = False
    labels = torch.randint(0, 3, (12,), generator=generator)
    instances = InstanceData(
        bboxes=boxes,
        labels=labels,
        scores=torch.linspace(0.9, 0.3, 12),
        masks=torch.from_numpy(masks),
    )
    head = HeuristicFusionHead(
        num_things_classes=3,
        num_stuff_classes=3,
        test_cfg=ConfigDict(mask_overlap=mask_overlap, stuff_area_limit=150),
    )
    (expected,) = head.predict([instances], [torch.from_numpy(stuff)])
    given = stuff.argmax(axis=0) + 3
    found = postprocess.fuse_panoptic(
        given, masks, labels.numpy(), (3, 6), mask_overlap, 150
    )
    np.testing.assert_array_equal(found, expected.sem_seg[0].numpy())
    objects = np.unique(found[found > 1000])
    assert 3 <= len(objects) < 12
    # What is left of one kind of stuff is too small.
    assert set(np.unique(found[found < 1000])) < set(np.unique(given)) | {6}


def test_foreground_map_equals_mmsegs():
    logits, sizes = smooth_logits(1, 13, 17, 4), [(50, 66), (51, 60)]
    expected = resize_like_mmseg(logits, sizes, False).sigmoid()[0] > 0.3
    labels = postprocess.foreground_map(logits, sizes, threshold=0.3)
    np.testing.assert_array_equal(labels, expected.numpy())
    assert 0 < labels.mean() < 1


def test_pasted_masks_equal_mmdets():
    """Boxes inside, at the border, over the whole image and without extent."""
    size = height, width = 70, 90
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(20, 2, 2, generator=generator) * torch.tensor([width, height])
    boxes = torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)
    boxes[0] = torch.tensor([3.5, 4, 3.5, 9])
    boxes[1] = torch.tensor([3, 4, 8, 4])
    boxes[2] = torch.tensor([0, 0, width, height])
    boxes[3] = torch.tensor([width, height, width, height])
    masks = torch.rand(20, 28, 28, generator=generator)
    head = FCNMaskHead(
        num_convs=0,
        in_channels=1,
        conv_out_channels=1,
        num_classes=1,
        class_agnostic=True,
    )
    instances = InstanceData(bboxes=boxes.clone(), labels=torch.zeros(20).long())
    (expected,) = head.predict_by_feat(
        mask_preds=(masks[:, None].numpy(),),
        results_list=[instances],
        batch_img_metas=[dict(scale_factor=(1.0, 1.0), ori_shape=size)],
        rcnn_test_cfg=ConfigDict(mask_thr_binary=0.4),
        rescale=True,
        activate_map=True,
    )
    pasted = postprocess.paste_masks(masks.numpy(), boxes.numpy(), size, 0.4)
    np.testing.assert_array_equal(pasted, expected.masks.numpy())
    assert pasted[2].any()


def test_no_masks_to_paste():
    pasted = postprocess.paste_masks(np.zeros((0, 28, 28)), np.zeros((0, 4)), (5, 6))
    assert pasted.shape == (0, 5, 6)
    assert pasted.dtype == bool


def test_softmax():
    scores = postprocess.softmax(np.log([1.0, 2.0, 5.0]))
    np.testing.assert_allclose(scores, [0.125, 0.25, 0.625], rtol=1e-6)
