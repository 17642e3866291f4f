"""The command line that segments anything in images."""

import json

import cv2
import numpy as np
import pytest
from helpers import tiny_sam
from helpers.commands import REPO, assert_one_line_error, run_tool
from helpers.tool_server import fork_tool
from pycocotools.coco import COCO

HEIGHT, WIDTH = 96, 160


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    config, checkpoint = tiny_sam.write(tmp_path_factory.mktemp('sam'))
    text = config.read_text()
    base = f"_base_ = '{REPO / 'configs' / '_base_' / 'plugin.py'}'\n"
    config.write_text(base + text)
    return ('--config', config, '--checkpoint', checkpoint, '--device', 'cpu')


@pytest.fixture
def photos(tmp_path):
    """Two images, called as those of COCO are."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    for number in (139, 285):
        path = folder / f'{number:012}.png'
        cv2.imwrite(str(path), tiny_sam.draw_image(HEIGHT, WIDTH, seed=number))
    return folder


def read_masks(out, images):
    """The annotations, once they are found to be COCO's and drawn."""
    coco = COCO(out / 'masks.json')
    assert [image['height'] for image in coco.imgs.values()] == [HEIGHT] * images
    assert len(list((out / 'vis').iterdir())) == images
    for record in coco.anns.values():
        assert coco.annToMask(record).sum() == record['area']
        assert record['category_id'] in coco.cats
    return coco


def test_points_of_one_object(model, photos, tmp_path):
    """As a user starts it: the tool's folder has a module of the package's name."""
    out = tmp_path / 'out'
    image = photos / '000000000139.png'
    points = ('--point', 40, 30, '--point', 100, '20,0')
    done = run_tool('segment_anything.py', image, *model, *points, '--out', out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f'1 masks of 1 images written to {out}'
    coco = read_masks(out, images=1)
    (record,) = coco.anns.values()
    assert record['score'] == pytest.approx(predict(model, image, points)[0], abs=1e-4)
    drawn, original = (cv2.imread(str(p)) for p in (out / 'vis' / image.name, image))
    changed = (drawn != original).any(axis=2)
    for (x, y), colour in (((40, 30), [0, 255, 0]), ((100, 20), [0, 0, 255])):
        assert drawn[y, x].tolist() == colour
        changed[y - 8 : y + 9, x - 8 : x + 9] = False
    assert changed.any()
    assert not (changed & (coco.annToMask(record) == 0)).any()


def predict(model, image, points):
    from mmrapidnet.apis import SegmentAnythingPredictor

    predictor = SegmentAnythingPredictor(str(model[1]), model[3], 'cpu')
    predictor.set_image(cv2.imread(str(image)), 'BGR')
    _, ious, _ = predictor.predict(
        [[40, 30], [100, 20]], [1, 0], multimask_output=False
    )
    return ious


def test_boxes_of_a_detector(model, photos, tmp_path):
    results = [
        dict(image_id=139, category_id=7, bbox=[10, 10, 60, 50], score=0.9),
        dict(image_id=139, category_id=3, bbox=[50, 20, 80, 60], score=0.8),
        dict(image_id=139, category_id=3, bbox=[5, 5, 9, 9], score=0.1),
        dict(image_id=285, category_id=7, bbox=[0, 0, 90, 90], score=0.5),
    ]
    (tmp_path / 'boxes.json').write_text(json.dumps(results))
    boxes, out = ('--boxes-from', tmp_path / 'boxes.json'), tmp_path / 'out'
    done = fork_tool('segment_anything.py', photos, *model, *boxes, '--out', out)
    assert done.returncode == 0, done.stderr
    records = read_masks(out, images=2).anns.values()
    assert [(r['image_id'], r['category_id']) for r in records] == [
        (1, 7),
        (1, 3),
        (2, 7),
    ]


def test_boxes_of_a_data_set(model, photos, tmp_path):
    data = dict(
        images=[dict(id=5, file_name='val/000000000285.png')],
        annotations=[dict(id=1, image_id=5, category_id=2, bbox=[10, 10, 60, 50])],
        categories=[dict(id=2, name='nucleus')],
    )
    # With a byte-order mark, as some tools write it.
    (tmp_path / 'data.json').write_text(json.dumps(data), encoding='utf-8-sig')
    boxes, out = ('--boxes-from', tmp_path / 'data.json'), tmp_path / 'out'
    done = fork_tool('segment_anything.py', photos, *model, *boxes, '--out', out)
    assert done.returncode == 0, done.stderr
    coco = read_masks(out, images=2)
    assert [r['image_id'] for r in coco.anns.values()] == [2]
    assert coco.cats[2]['name'] == 'nucleus'


@pytest.mark.parametrize('where', ['photos', 'data'])
def test_boxes_of_images_whose_names_repeat(where, model, photos, tmp_path):
    """Else each would be given those of both."""
    names = ['a/000000000139.png', 'b/139.png']
    images = [dict(id=number, file_name=name) for number, name in enumerate(names)]
    box = dict(id=1, image_id=0, category_id=2, bbox=[10, 10, 60, 50])
    categories = [dict(id=2, name='nucleus')]
    data = dict(images=images, annotations=[box], categories=categories)
    if where == 'photos':
        data['images'] = images[:1]
        (photos / 'b').mkdir()
        (photos / 'b' / '139.png').write_bytes(
            (photos / '000000000139.png').read_bytes()
        )
    (tmp_path / 'data.json').write_text(json.dumps(data))
    boxes = ('--boxes-from', tmp_path / 'data.json', '--out', tmp_path / 'out')
    done = fork_tool('segment_anything.py', photos, *model, *boxes)
    shared = 'data.json gives boxes to images by their names', 'b/139.png share: rename'
    assert_one_line_error(done, *shared)


def test_several_boxes_and_everything(model, photos, tmp_path):
    image, out = photos / '000000000139.png', tmp_path / 'out'
    boxes = ('--box', 10, 10, 60, 50, '--box', 50, 20, 120, 90)
    done = fork_tool('segment_anything.py', image, *model, *boxes, '--out', out)
    assert done.returncode == 0, done.stderr
    assert len(read_masks(out, images=1).anns) == 2
    done = fork_tool('segment_anything.py', image, *model, '--everything', '--out', out)
    assert done.returncode == 0, done.stderr
    content = json.loads((out / 'masks.json').read_text())
    assert all(r['stability_score'] >= 0.95 for r in content['annotations'])


@pytest.mark.slow
def test_the_exported_pair(model, photos, tmp_path):
    """The same record as the model's, and nothing else needed."""
    image, pair = photos / '000000000139.png', []
    for part in ('encoder', 'decoder'):
        file = tmp_path / f'{part}.onnx'
        options = ('--part', part, '--format', 'onnx', '--image', image, '--out', file)
        done = fork_tool('export.py', model[1], model[3], *options)
        assert done.returncode == 0, done.stderr
        assert f'{part}.onnx against PyTorch' in done.stdout
        pair += [f'--{part}', file]
    records = []
    for files in (model, pair):
        out = tmp_path / f'out{len(records)}'
        arguments = (*files, '--box', 10, 10, 60, 50, '--out', out)
        done = fork_tool('segment_anything.py', image, *arguments)
        assert done.returncode == 0, done.stderr
        (record,) = read_masks(out, images=1).anns.values()
        records.append(record)
    assert records[1]['area'] == pytest.approx(records[0]['area'], rel=0.01)
    assert records[1]['score'] == pytest.approx(records[0]['score'], abs=1e-3)

    arguments = (*model, *pair, '--everything', '--out', tmp_path / 'both')
    done = fork_tool('segment_anything.py', image, *arguments)
    assert_one_line_error(done, 'give either a config and a checkpoint, or an exported')


BAD = {
    'there is no prompt: give --point, --box': (),
    'give one kind of prompts': ('--everything', '--point', '1', '2'),
    'points are of one object, but there are 2 boxes': (
        *('--point', '1', '2', '--box', '1', '2', '3', '4'),
        *('--box', '1', '2', '3', '4'),
    ),
    '--point 1 b,1 is no point: give X Y': ('--point', '1', 'b,1'),
    '000000000139.png: the point 500 2 is outside of the image': (
        '--point',
        '500',
        '2',
    ),
    'the box 9 9 9 20 has no size': ('--box', '9', '9', '9', '20'),
    'nowhere.json cannot be read: No such file': ('--boxes-from', 'nowhere.json'),
    'bad.json holds neither COCO results nor': ('--boxes-from', 'bad.json'),
    'other.json has no box of': ('--boxes-from', 'other.json'),
}


@pytest.mark.parametrize('message', BAD)
def test_bad_prompts(model, photos, tmp_path, message):
    (tmp_path / 'bad.json').write_text('{"images": 3}')
    other = [dict(image_id=1, category_id=1, bbox=[1, 2, 3, 4], score=1)]
    (tmp_path / 'other.json').write_text(json.dumps(other))
    arguments = (photos, *model, *BAD[message], '--out', tmp_path / 'out')
    done = fork_tool('segment_anything.py', *arguments, cwd=tmp_path)
    assert_one_line_error(done, message)
    assert not (tmp_path / 'out' / 'masks.json').exists()


def test_images_in_which_nothing_is_to_be_seen(model, tmp_path):
    cv2.imwrite(str(tmp_path / 'pixel.png'), np.zeros((1, 1, 3), np.uint8))
    (tmp_path / 'damaged.png').write_bytes(b'no image')
    twelve_bits = np.linspace(1008, 2288, 40 * 50, dtype=np.uint16).reshape(40, 50)
    cv2.imwrite(str(tmp_path / 'deep.png'), twelve_bits)
    for name, message in (
        ('pixel.png', 'the image has 1 x 1 pixels'),
        ('damaged.png', 'damaged.png is not an image that can be read'),
        ('deep.png', 'deep.png: its values 1008 to 2288 are read as 3 to 8; SAM sees'),
    ):
        arguments = (*model, '--everything', '--out', tmp_path / 'out')
        done = fork_tool('segment_anything.py', tmp_path / name, *arguments)
        assert_one_line_error(done, message)
