"""The gallery: image, ground truth and prediction of a detector and a segmenter."""

import cv2
import numpy as np
import pytest
import torch
from helpers.commands import assert_one_line_error
from helpers.tiny_models import load, write_checkpoint, write_config
from helpers.tool_server import fork_tool
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from pycocotools.coco import COCO

from dev import gallery
from mmrapidnet.config.load import load_config
from mmrapidnet.utils.errors import UserError

SIDE = 96
HELD_OUT = 6
# A white line around each tile, and what stands above the columns.
STEP, TITLES = SIDE + 6, 46
ROOTS = {'segmenter': 'ade', 'detector': 'coco'}


@pytest.fixture
def make_model(shapes_root, tmp_path):
    """Writes a tiny model that finds its data, and weights for it."""

    def make(kind):
        root = shapes_root / ROOTS[kind]
        cfg = load(kind, tmp_path, root)
        weights = write_checkpoint(cfg, tmp_path / f'{kind}.pth')
        config = tmp_path / f'my_{kind}.py'
        cfg.dump(str(config))
        return str(config), str(weights)

    return make


def read_tiles(path, rows, top):
    """The tiles of some rows of a picture, without the lines around them."""
    picture = cv2.imread(str(path))
    return [
        [
            picture[top + row * STEP + 3 :, column * STEP + 3 :][:SIDE, :SIDE]
            for column in range(3)
        ]
        for row in range(rows)
    ]


def blend(image, colours, where):
    painted = image.copy()
    painted[where] = 0.4 * image[where] + 0.6 * colours[where][..., ::-1]
    return painted


def assert_alike(tile, expected):
    """But for having been enlarged, for the model, and made small again.

    Moved by a single pixel they differ by 5.
    """
    assert np.abs(tile.astype(float) - expected.astype(float)).mean() < 4


def test_a_segmenter_above_a_detector(make_model, shapes_root, tmp_path):
    models = [make_model('segmenter'), make_model('detector')]
    out = tmp_path / 'sub' / 'gallery.png'
    gallery.draw_gallery(models, out, indices=[4, 1], width=SIDE)
    height, width, _ = cv2.imread(str(out)).shape
    assert (height, width) == (2 * (TITLES + 2 * STEP), 3 * STEP)

    # Classes from 1 on; 0 is nothing, and stays as it is.
    palette = np.array(load_config(models[0][0]).metainfo['palette'])
    maps = sorted((shapes_root / 'ade').rglob('annotations/validation/*.png'))
    for number, tiles in zip((4, 1), read_tiles(out, 2, TITLES)):
        labels = cv2.imread(str(maps[number]), cv2.IMREAD_UNCHANGED).astype(int)
        (photo,) = (shapes_root / 'ade').rglob(
            f'images/validation/{maps[number].stem}.*'
        )
        image = cv2.imread(str(photo))
        assert_alike(tiles[0], image)
        assert_alike(tiles[1], blend(image, palette[labels - 1], labels > 0))
        assert np.abs(tiles[2].astype(float) - image).mean() > 5

    coco = COCO(load_config(models[1][0]).test_evaluator.ann_file)
    palette = np.array(load_config(models[1][0]).metainfo['palette'])
    top = 2 * TITLES + 2 * STEP
    for number, tiles in zip((4, 1), read_tiles(out, 2, top)):
        record = coco.loadImgs(number + 1)[0]
        image = cv2.imread(str(shapes_root / 'coco/val2017' / record['file_name']))
        assert_alike(tiles[0], image)
        labels = np.zeros((SIDE, SIDE), int)
        for annotation in coco.imgToAnns[number + 1]:
            labels[coco.annToMask(annotation) > 0] = annotation['category_id']
        assert_alike(tiles[1], blend(image, palette[labels - 1], labels > 0))


def draw_objects(palette, **objects):
    sample = DetDataSample(pred_instances=InstanceData(**objects))
    image = np.zeros((20, 30, 3), np.uint8)
    return gallery._draw_objects(image, sample, 'pred', palette)


def test_objects_of_a_single_class_differ_in_colour():
    masks = torch.zeros(3, 20, 30, dtype=torch.bool)
    masks[0, :, :8] = masks[1, :, 10:18] = masks[2, :, 20:28] = True
    drawn = draw_objects(
        [(200, 0, 0)],
        masks=masks,
        labels=torch.zeros(3, dtype=torch.long),
        scores=torch.tensor([0.9, 0.31, 0.29]),
    )
    first, second, third, ground = (
        tuple(drawn[10, x].tolist()) for x in (4, 14, 24, 29)
    )
    assert first != second and ground == (0, 0, 0)
    assert max(first) > 20 and max(second) > 20
    assert third == ground  # its score is below 0.3


def test_objects_without_masks_are_boxes():
    drawn = draw_objects(
        [(200, 0, 0), (0, 200, 0)],
        bboxes=torch.tensor([[4.0, 4, 16, 16]]),
        labels=torch.tensor([1]),
        scores=torch.tensor([0.9]),
    )
    assert drawn[10, 4, 1] > 60 and drawn[10, 4, 2] < 20  # an edge, in green
    assert drawn[10, 10].tolist() == [0, 0, 0]
    nothing = draw_objects(
        [(200, 0, 0)], bboxes=torch.zeros(0, 4), labels=[], scores=torch.zeros(0)
    )
    assert not nothing.any()


def test_which_images():
    assert gallery._choose(None, 80, 'x.py') == [0, 39, 79]
    assert gallery._choose([79, 0], 80, 'x.py') == [79, 0]
    with pytest.raises(UserError) as error:
        gallery._choose([3, 80], 80, 'x.py')
    said = '--indices 80: the test set of x.py has images 0 to 79'
    assert str(error.value) == said


def test_a_classifier_is_refused(tmp_path):
    config = str(write_config('classifier', tmp_path))
    with pytest.raises(UserError, match='classifier.py: give a detector or a segment'):
        gallery.draw_gallery([(config, 'x.pth')], tmp_path / 'out.png')


def test_command(make_model, tmp_path):
    config, weights = make_model('segmenter')
    out = tmp_path / 'out.jpg'
    arguments = (config, weights, '--out', out, '--width', 32)
    done = fork_tool('dev/gallery.py', *arguments, '--indices', HELD_OUT - 1)
    assert done.returncode == 0, done.stderr
    assert cv2.imread(str(out)).shape[1] == 3 * (32 + 6)
    assert f'written to {out}' in done.stdout
    done = fork_tool('dev/gallery.py', *arguments, '--indices', HELD_OUT)
    assert_one_line_error(done, f'--indices {HELD_OUT}', f'0 to {HELD_OUT - 1}')
    done = fork_tool('dev/gallery.py', config, '--out', out)
    assert_one_line_error(done, 'give a checkpoint after each config')
