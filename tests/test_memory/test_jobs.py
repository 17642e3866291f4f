"""What is watched, and the command that does it."""

import json

import cv2
import pytest
from conftest import REPO, assert_one_line_error, run_tool
from pycocotools.coco import COCO
from tiny_models import load, write_checkpoint, write_config
from tool_server import fork_tool

from mmrapidnet.errors import UserError
from mmrapidnet.memory import jobs
from mmrapidnet.memory.curve import MIB, Curve


@pytest.fixture
def watched(monkeypatch):
    """Nothing runs; the commands, and the curve that they are said to have."""
    calls, curve = [], Curve([0.0, 60.0, 120.0], [MIB] * 3, [0] * 3)

    def watch(command, log, seconds=None):
        calls.append((command[1:], seconds))
        return curve

    monkeypatch.setattr(jobs, 'watch', watch)
    return calls, curve


def test_images_of_varying_sizes(tmp_path):
    jobs.write_images(tmp_path / 'images', 6)
    paths = sorted((tmp_path / 'images').iterdir())
    shapes = [cv2.imread(str(path)).shape for path in paths]
    assert len(shapes) == len(set(shapes)) == 6
    assert all(96 <= side <= 640 for shape in shapes for side in shape[:2])
    before = paths[0].stat().st_mtime_ns
    jobs.write_images(tmp_path / 'images', 6)
    assert paths[0].stat().st_mtime_ns == before


def test_annotations_are_whole(shapes_root, tmp_path):
    root = shapes_root / 'coco'
    source = COCO(root / 'annotations' / 'instances_train2017.json')
    count = 3 * len(source.anns) - 1
    path = jobs.write_annotations(root, tmp_path / 'many.json', count)
    many = COCO(path)
    assert len(many.anns) == count + 1
    assert len(many.imgs) == 3 * len(source.imgs)
    for image in many.loadImgs(many.getImgIds()):
        (original,) = (
            i for i in source.imgs.values() if i['file_name'] == image['file_name']
        )
        found, wanted = (
            [item['bbox'] for item in coco.loadAnns(coco.getAnnIds(one['id']))]
            for coco, one in ((many, image), (source, original))
        )
        assert found == wanted


def test_inference(watched, tmp_path):
    curve = jobs.watch_inference(REPO, 'a.py', 'a.pth', tmp_path, images=2)
    calls, wanted = watched
    assert curve is wanted
    tool, folder, *rest = calls[0][0]
    assert (tool, len(list((tmp_path / 'images_2').iterdir()))) == (
        f'{REPO}/tools/infer.py',
        2,
    )
    assert folder == str(tmp_path / 'images_2')
    assert rest[:4] == ['--config', 'a.py', '--checkpoint', 'a.pth']
    record = json.loads((tmp_path / 'inference.json').read_text())
    assert (record['level_mib'], record['growth_mib']) == (1, 0)
    assert (tmp_path / 'inference.png').exists()


def test_training_that_grows(watched, tmp_path):
    calls, curve = watched
    curve.main[2] = 2 * MIB
    with pytest.raises(UserError, match=r'training, 2 minutes: memory grows: .*\+1.0'):
        jobs.watch_training(REPO, 'a.py', tmp_path, 2, ('--data-root', 'there'))
    command, seconds = calls[0]
    assert seconds == 120
    assert command[1:6] == [
        *('a.py', '--work-dir', str(tmp_path / 'run'), '--data-root', 'there')
    ]
    assert (tmp_path / 'training.json').exists()


def test_workers(watched, shapes_root, tmp_path):
    calls, _ = watched
    root = shapes_root / 'coco'
    curves = jobs.watch_workers(REPO, 'a.py', root, tmp_path, 100, workers=(1, 2))
    assert list(curves) == [1, 2]
    assert 'train_dataloader.num_workers=2' in calls[1][0]
    record = json.loads((tmp_path / 'workers.json').read_text())
    assert record['level_mib'] == {'1': 1, '2': 1}
    size = (tmp_path / 'annotations.json').stat().st_size
    assert record['annotation_bytes'] == size


@pytest.mark.slow
def test_command(shapes_root, tmp_path):
    """Real inference; so short that it may not count as flat."""
    cfg = load('segmenter', tmp_path, shapes_root / 'ade')
    weights = write_checkpoint(cfg, tmp_path / 'weights.pth')
    run_tool(
        *('memory.py', '--out', tmp_path / 'out', 'inference'),
        *(write_config('segmenter', tmp_path), weights, '--images', '30'),
    )
    record = json.loads((tmp_path / 'out' / 'inference.json').read_text())
    assert len(record['seconds']) == len(record['main_bytes']) > 3
    assert record['level_mib'] > 100
    assert len(list((tmp_path / 'out' / 'drawn' / 'vis').iterdir())) == 30


def test_bad_input(tmp_path):
    out = ('--out', tmp_path)
    done = run_tool('memory.py', *out, 'inference', 'a.py', 'a.pth', '--images', '0')
    assert_one_line_error(done, '--images 0: give at least 1')
    done = fork_tool('memory.py', *out, 'training', 'a.py', '--minutes', '0')
    assert_one_line_error(done, '--minutes 0: give a time above 0')
    done = fork_tool('memory.py', *out, 'training', 'nowhere.py')
    assert_one_line_error(done, 'train.py ended with status 1: error: there is no conf')
