"""Files of a test's predictions: one for each image, whatever the images are called."""

import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from helpers.tiny_models import load, write_checkpoint
from mmengine.config import Config
from mmengine.structures import PixelData

from mmrapidnet.apis import options
from mmrapidnet.apis.test import test as run_test
from mmrapidnet.engine.hooks.predictions import DrawPredictionsHook, SaveLabelMapsHook
from mmrapidnet.utils.errors import UserError

SUBS = ('a', 'b')


@pytest.fixture(scope='module')
def repeating(shapes_root, tmp_path_factory):
    """A segmenter's config and checkpoint, and data whose base names repeat."""
    folder = tmp_path_factory.mktemp('repeating')
    root = folder / 'ade'
    for kind, suffix in (('images', 'jpg'), ('annotations', 'png')):
        files = sorted((shapes_root / 'ade' / kind / 'validation').glob(f'*.{suffix}'))
        for sub, path in zip(SUBS, files):
            target = root / kind / 'validation' / sub / f'1.{suffix}'
            target.parent.mkdir(parents=True)
            shutil.copyfile(path, target)
    cfg = load('segmenter', folder, root)
    return cfg, str(write_checkpoint(cfg, folder / 'seg.pth')), root


def prepare(cfg, tmp_path):
    cfg = Config(cfg.to_dict())
    cfg.work_dir, cfg.launcher = str(tmp_path / 'run'), 'none'
    return cfg


def list_files(folder):
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file()
    )


def test_a_segmenter(repeating, tmp_path):
    """Its label maps are what was evaluated, and so are the pictures of them."""
    cfg, checkpoint, root = repeating
    cfg = prepare(cfg, tmp_path)
    options.save_predictions(cfg, str(tmp_path / 'maps'))
    options.draw_predictions(cfg, str(tmp_path / 'drawn'))
    metrics = run_test(cfg, checkpoint)
    assert list_files(tmp_path / 'maps') == ['a/1.png', 'b/1.png']
    assert list_files(tmp_path / 'drawn') == ['a/1.jpg', 'b/1.jpg']
    right = counted = 0
    for sub in SUBS:
        labels = cv2.imread(str(tmp_path / 'maps' / sub / '1.png'), -1)
        truth = cv2.imread(str(root / f'annotations/validation/{sub}/1.png'), -1)
        assert labels.dtype == np.uint8 and labels.shape == truth.shape
        # Numbered as the data set's own, whose 0 is nothing.
        assert labels.min() >= 1 and labels.max() <= 7
        right += ((labels == truth) & (truth > 0)).sum()
        counted += (truth > 0).sum()
        # Ground truth on the left, prediction on the right.
        picture = cv2.imread(str(tmp_path / 'drawn' / sub / '1.jpg'))
        height, width = truth.shape
        assert picture.shape == (height, 2 * width, 3)
    # Pixel accuracy by hand, from the files.
    assert metrics['aAcc'] == pytest.approx(100 * right / counted, abs=0.01)


@pytest.mark.parametrize('kind', ['detector', 'classifier'])
def test_others_are_drawn_alike(kind, shapes_root, tmp_path):
    import json

    from helpers.tiny_models import write_imagenet

    if kind == 'detector':
        root = tmp_path / 'coco'
        shutil.copytree(shapes_root / 'coco', root)
        path = root / 'annotations' / 'instances_val2017.json'
        content = json.loads(path.read_text())
        for number, record in enumerate(content['images']):
            name = f'{SUBS[number % 2]}/{number // 2}.jpg'
            target = root / 'val2017' / name
            target.parent.mkdir(exist_ok=True)
            (root / 'val2017' / record['file_name']).rename(target)
            record['file_name'] = name
        path.write_text(json.dumps(content))
        expected = sorted(record['file_name'] for record in content['images'])
    else:
        root = write_imagenet(tmp_path / 'imagenet')
        lines = []
        for number in range(4):
            name = f'{SUBS[number % 2]}/{number // 2}.png'
            target = root / 'val' / name
            target.parent.mkdir(exist_ok=True)
            (root / 'val' / f'{number}.png').rename(target)
            lines.append(f'{name} {number}\n')
        (root / 'meta' / 'val.txt').write_text(''.join(lines))
        expected = sorted(line.split()[0] for line in lines)
    cfg = load(kind, tmp_path, root)
    checkpoint = write_checkpoint(cfg, tmp_path / 'model.pth')
    cfg = prepare(cfg, tmp_path)
    cfg.default_hooks.pop('visualization')
    cfg.visualizer = None
    options.draw_predictions(cfg, str(tmp_path / 'drawn'))
    run_test(cfg, str(checkpoint))
    assert list_files(tmp_path / 'drawn') == expected


class Sample(dict):
    """A sample of one label map."""

    pred_sem_seg = PixelData(data=torch.tensor([[[0, 299]]]))


def test_many_classes_need_sixteen_bits(tmp_path):
    hook = SaveLabelMapsHook(str(tmp_path))
    hook.write('1.jpg', Sample(), tmp_path / 'new' / '1.png')
    labels = cv2.imread(str(tmp_path / 'new' / '1.png'), -1)
    assert labels.dtype == np.uint16 and labels.tolist() == [[0, 299]]
    hook.write('1.jpg', Sample(reduce_zero_label=True), tmp_path / '2.png')
    assert cv2.imread(str(tmp_path / '2.png'), -1).tolist() == [[1, 300]]


def test_what_cannot_be_written(tmp_path):
    (tmp_path / 'file').touch()
    hook = SaveLabelMapsHook(str(tmp_path))
    with pytest.raises(UserError, match='file/1.png cannot be written: '):
        hook.write('1.jpg', Sample(), tmp_path / 'file' / '1.png')


def test_an_image_without_a_name(tmp_path):
    hook = SaveLabelMapsHook(str(tmp_path))
    with pytest.raises(UserError, match="keep 'img_path' in its meta_keys"):
        hook.after_test_iter(None, 0, None, [Sample()])


class Samples(list):
    """A data set of these records."""

    def get_data_info(self, index):
        return self[index]


@pytest.mark.parametrize('folder', ['images', 'label_maps', 'link'])
@pytest.mark.parametrize('kind', [SaveLabelMapsHook, DrawPredictionsHook])
def test_what_the_test_reads_is_not_overwritten(kind, folder, tmp_path):
    """As with a folder of the data set for --out or --show-dir."""
    image, label_map = (tmp_path / name / 'a.png' for name in ('images', 'label_maps'))
    sample = dict(img_path=str(image), seg_map_path=str(label_map))
    (tmp_path / 'link').symlink_to('images')
    dataset = Samples([sample, dict(img_path=str(tmp_path / 'images' / 'b.png'))])
    runner = SimpleNamespace(test_dataloader=SimpleNamespace(dataset=dataset))
    message = f'{folder}/a.png, which the test reads, would be overwritten: give anothe'
    with pytest.raises(UserError, match=message):
        kind(str(tmp_path / folder)).before_test(runner)
    hook = SaveLabelMapsHook(str(tmp_path / 'new'))
    hook.before_test(runner)
    assert hook.files[str(image)] == tmp_path / 'new' / 'a.png'
