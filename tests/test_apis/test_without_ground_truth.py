"""Tests that only keep predictions: they need no annotations."""

import json
import pickle

import pytest
from helpers.bad_data import JPEG, CocoSplit, load
from helpers.tiny_models import write_checkpoint

from mmrapidnet.apis import options
from mmrapidnet.apis.test import test as run_test
from mmrapidnet.datasets.check.run import find_problems


@pytest.fixture
def keep(tmp_path):
    """Test a config, keeping the predictions in a file and as pictures."""

    def keep(cfg, out):
        cfg.work_dir = str(tmp_path / 'run')
        checkpoint = write_checkpoint(cfg, tmp_path / 'model.pth')
        options.save_predictions(cfg, str(out))
        options.draw_predictions(cfg, str(tmp_path / 'drawn'))
        return run_test(cfg, str(checkpoint))

    return keep


@pytest.mark.parametrize('formats', [True, False])
def test_a_list_of_images(formats, keep, tmp_path):
    """As COCO's test-dev: mmdet writes its results of boxes and of masks."""
    coco = CocoSplit(tmp_path, 'val')
    for name in 'ab':
        coco.image(name)
    del coco.content['annotations']
    coco.write()
    cfg = load('detector', tmp_path)
    if formats:
        cfg.test_evaluator.update(
            format_only=True, outfile_prefix=str(tmp_path / 'results')
        )
    else:
        cfg.test_evaluator = []
    assert keep(cfg, tmp_path / 'kept.pkl') == {}
    with (tmp_path / 'kept.pkl').open('rb') as file:
        kept = [sample['img_id'] for sample in pickle.load(file)]
    assert kept == [1, 2]
    assert {path.name for path in (tmp_path / 'drawn').iterdir()} == {'a.jpg', 'b.jpg'}
    if formats:
        for kind, field in (('bbox', 'bbox'), ('segm', 'segmentation')):
            results = json.loads((tmp_path / f'results.{kind}.json').read_text())
            assert {result['image_id'] for result in results} == {1, 2}
            assert all(field in result for result in results)


def test_images_without_label_maps(keep, tmp_path):
    """The folder of these, which a base config names, need not be there."""
    folder = tmp_path / 'images' / 'validation'
    folder.mkdir(parents=True)
    (folder / 'a.jpg').write_bytes(JPEG)
    cfg = load('segmenter', tmp_path)
    dataset = cfg.test_dataloader.dataset
    dataset.pipeline = [s for s in dataset.pipeline if s.type != 'LoadAnnotations']
    cfg.test_evaluator = dict(
        type='IoUMetric', format_only=True, output_dir=str(tmp_path / 'formatted')
    )
    assert find_problems(cfg, ['test_dataloader']) == []
    assert keep(cfg, tmp_path / 'maps') == {}
    for place in ('maps', 'formatted', 'drawn'):
        assert [path.stem for path in (tmp_path / place).iterdir()] == ['a']
