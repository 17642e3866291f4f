"""Drawing predictions: which pictures there are, where, and of what."""

import weakref
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import psutil
import pytest
import torch
from helpers.tiny_models import load, write_checkpoint, write_imagenet
from mmengine.config import Config

from mmrapidnet.apis.inference import find_images, infer
from mmrapidnet.engine import visualization as drawing
from mmrapidnet.engine.visualization import name_outputs
from mmrapidnet.utils.env import find_device
from mmrapidnet.utils.errors import UserError

KINDS = ('segmenter', 'detector', 'classifier')


@pytest.fixture(scope='module')
def made(shapes_root, tmp_path_factory):
    """Of each kind a config and the path of a checkpoint."""
    folder = tmp_path_factory.mktemp('models')
    roots = dict(segmenter=shapes_root / 'ade', detector=shapes_root / 'coco')
    roots['classifier'] = write_imagenet(tmp_path_factory.mktemp('data') / 'imagenet')
    made = {}
    for kind in KINDS:
        cfg = load(kind, folder, roots[kind])
        made[kind] = cfg, str(write_checkpoint(cfg, folder / f'{kind}.pth'))
    return made


@pytest.fixture
def run(made, tmp_path):
    """Draw in `tmp_path / 'out'`, returning what was drawn."""

    def run(kind, *inputs, **arguments):
        cfg, checkpoint = made[kind]
        cfg, inputs = Config(cfg.to_dict()), [str(path) for path in inputs]
        return infer(cfg, checkpoint, inputs, str(tmp_path / 'out'), **arguments)

    return run


def write_image(path, shape=(40, 60, 3), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, shape, np.uint8)
    cv2.imwrite(str(path), noise)
    return path


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def list_files(folder):
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file()
    )


@pytest.mark.parametrize('kind', KINDS)
def test_sub_folders_are_kept(kind, run, tmp_path):
    images = tmp_path / 'images'
    names = ['a/1.png', 'b/1.JPG', 'b/c/1.png', 'top.png']
    for seed, name in enumerate(names):
        write_image(images / name, seed=seed)
    assert run(kind, images) == [str(images / name) for name in names]
    assert list_files(tmp_path / 'out' / 'vis') == names
    pictures = [cv2.imread(str(tmp_path / 'out' / 'vis' / name)) for name in names]
    assert len({picture.tobytes() for picture in pictures}) == 4


def test_nothing_is_kept_of_an_image(run, tmp_path, monkeypatch):
    samples, left = [], []
    draw = drawing.PredictionDrawer.draw

    def draw_and_look(drawer, image, sample, picture):
        draw(drawer, image, sample, picture)
        samples.append(weakref.ref(sample))
        left.append(sum(old() is not None for old in samples))

    monkeypatch.setattr(drawing.PredictionDrawer, 'draw', draw_and_look)
    for seed in range(4):
        write_image(tmp_path / 'images' / f'{seed}.png', seed=seed)
    run('detector', tmp_path / 'images')
    assert left == [1, 1, 1, 1]
    assert not any(sample() for sample in samples)


@pytest.mark.slow
def test_memory_stays_flat(run, tmp_path, monkeypatch):
    """Of many images nothing is kept, not even the pixels."""
    shapes, held = [(300, 400, 3), (400, 300, 3), (200, 600, 3)], []
    for seed in range(30):
        write_image(tmp_path / 'images' / f'{seed}.png', shapes[seed % 3], seed)
    draw = drawing.PredictionDrawer.draw

    def draw_and_weigh(*arguments):
        draw(*arguments)
        held.append(psutil.Process().memory_info().rss)

    monkeypatch.setattr(drawing.PredictionDrawer, 'draw', draw_and_weigh)
    assert len(run('detector', tmp_path / 'images')) == len(held) == 30
    # The last six images come 18 after the six that follow the warm-up.
    growth = median(held[24:]) - median(held[6:12])
    assert growth < 18 * np.prod(shapes[0]) / 2, [size >> 10 for size in held]


def test_names_of_pictures(tmp_path):
    """Below the folder given; files by themselves, unless their names repeat."""
    one, two = write_image(tmp_path / 'a' / '1.png'), write_image(tmp_path / 'b/1.png')
    other, out = write_image(tmp_path / 'b' / '2.png'), tmp_path / 'out'

    def names(*inputs):
        found = find_images([str(path) for path in inputs], out)
        return {
            str(Path(image).relative_to(tmp_path)): str(picture.relative_to(out))
            for image, picture in found.items()
        }

    assert names(one, other) == {'a/1.png': '1.png', 'b/2.png': '2.png'}
    assert names(one, two) == {'a/1.png': 'a/1.png', 'b/1.png': 'b/1.png'}
    assert names(one.parent, two.parent) == {
        'a/1.png': 'a/1.png',
        'b/1.png': 'b/1.png',
        'b/2.png': 'b/2.png',
    }
    # Twice is once, also under another name of the folder.
    assert names(two.parent, two, tmp_path / 'a' / '..' / 'b') == {
        'b/1.png': '1.png',
        'b/2.png': '2.png',
    }
    # What was drawn before is no input.
    write_image(out / 'old.png')
    assert 'out/old.png' not in names(tmp_path)


def test_names_never_repeat():
    images = ['set/a/1.jpg', 'set/a/1.png', 'set/a/1.jpg.png', 'set/b/1.jpg']
    for suffix in (None, '.png'):
        assert len(set(name_outputs(images, suffix).values())) == 4


@pytest.mark.parametrize('kind', ['segmenter', 'classifier'])
def test_a_damaged_image_does_not_keep_the_others(kind, run, tmp_path):
    images = tmp_path / 'images'
    names = ['a.png', 'b.png', 'c.png', 'd.png', 'e.png']
    for name in names:
        write_image(images / name)
    truncate(images / 'b.png')
    (images / 'd.png').write_text('no image')
    with pytest.raises(UserError) as error:
        run(kind, images)
    assert str(error.value) == (
        f'2 of 5 images are not drawn: {images}/b.png is not an image that can be '
        f'read: it is truncated or damaged; {images}/d.png is not an image that can be '
        f'read. The other 3 are drawn in {tmp_path}/out/vis'
    )
    assert list_files(tmp_path / 'out' / 'vis') == ['a.png', 'c.png', 'e.png']


def test_an_image_that_the_pipeline_refuses(run, tmp_path):
    thin = write_image(tmp_path / 'thin.png', (2, 2000, 3))
    with pytest.raises(UserError, match='thin.png does not go through the test pipel'):
        run('segmenter', thin)
    assert not (tmp_path / 'out').exists()


def test_many_damaged_images_are_told_in_one_line(run, tmp_path):
    for number in range(12):
        (tmp_path / 'images').mkdir(exist_ok=True)
        (tmp_path / 'images' / f'{number:02}.png').write_text('no image')
    with pytest.raises(UserError, match='12 of 12 images .*09.png.*; and 2 more$'):
        run('segmenter', tmp_path / 'images')


def test_no_image_is_overwritten(run, tmp_path):
    image = write_image(tmp_path / 'out' / 'vis' / '1.png')
    before = image.read_bytes()
    with pytest.raises(UserError, match='would take the place of .*give another --out'):
        run('segmenter', image)
    assert image.read_bytes() == before


def test_a_classifier_draws_its_class_and_score(run, made, tmp_path, monkeypatch):
    """The texts are those of the best score, and they are on the picture."""
    texts = []
    usual = drawing._build_visualizer

    def spying(cfg):
        visualizer = usual(cfg)
        write = visualizer.ax_save.text

        def text(x, y, content, *args, **kwargs):
            texts.append(content)
            return write(x, y, content, *args, **kwargs)

        visualizer.ax_save.text = text
        return visualizer

    monkeypatch.setattr(drawing, '_build_visualizer', spying)
    root = Path(made['classifier'][0].test_dataloader.dataset.data_root)
    image = root / 'val' / '0.png'
    run('classifier', image)

    from mmengine.registry import init_default_scope

    from mmrapidnet.checkpoints.state_dict import read_checkpoint
    from mmrapidnet.deploy.loading import load_model
    from mmrapidnet.deploy.preprocess import build_pipeline

    cfg, checkpoint = made['classifier']
    init_default_scope('mmpretrain')
    data = build_pipeline(cfg)(dict(img_path=str(image)))
    model = load_model(cfg, read_checkpoint(checkpoint), checkpoint)
    with torch.no_grad():
        (found,) = model.test_step({k: [v] for k, v in data.items()})
    label, score = found.pred_label.item(), found.pred_score.max().item()
    from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

    expected = f'Prediction: {label}, {score:.2f} ({IMAGENET_CATEGORIES[label]})'
    assert texts == [expected]
    picture = cv2.imread(str(tmp_path / 'out' / 'vis' / '0.png'))
    plain = cv2.resize(cv2.imread(str(image)), picture.shape[1::-1])
    changed = np.abs(picture.astype(int) - plain).max(axis=2) > 60
    assert changed[:60].mean() > 0.02 and changed[-60:].mean() < 0.01


def test_the_checkpoint_names_what_is_drawn(made, tmp_path, monkeypatch):
    """Not the config, whose data may be numbered otherwise."""
    cfg, checkpoint = made['segmenter']
    names = cfg.test_dataloader.dataset.metainfo.classes[::-1]
    content = torch.load(checkpoint)
    content['meta'] = dict(dataset_meta=dict(classes=names))
    torch.save(content, tmp_path / 'w.pth')
    drawers = []
    draw = drawing.PredictionDrawer.draw
    monkeypatch.setattr(
        drawing.PredictionDrawer,
        'draw',
        lambda self, *args: drawers.append(self) or draw(self, *args),
    )
    image = write_image(tmp_path / '1.png')
    infer(Config(cfg.to_dict()), str(tmp_path / 'w.pth'), [str(image)], str(tmp_path))
    assert drawers[0].visualizer.dataset_meta['classes'] == names


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_a_device_that_is_not_here(run, tmp_path):
    image = write_image(tmp_path / '1.png')
    with pytest.raises(UserError, match=r'^--device cuda:0: PyTorch has no such dev'):
        run('segmenter', image, device='cuda:0')
    for name in ('cuda', 'cuda:7', 'nonsense', 'meta', 'cpu:x'):
        with pytest.raises(UserError, match=f'^--device {name}: .*--device cpu$'):
            find_device(name)
    assert find_device() == find_device('cpu') == torch.device('cpu')
