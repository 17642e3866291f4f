"""A user's own data with other class names: copy the template, edit, train, test."""

import json
import re
import shutil

import cv2
import numpy as np
import pytest
from helpers.commands import REPO
from helpers.tool_server import fork_tool

from mmrapidnet.datasets.shapes import CLASSES, write_shapes

OBJECTS = ('plate', 'box', 'warning sign', 'starfish', 'tyre', 'grave')
SURFACES = ('table', *OBJECTS)
SPLITS = {'train': 'training', 'val': 'validation'}

# The templates are made for full size; `make test` only has time for small images.
SMALL = {
    'maskrcnn': [
        'model.train_cfg.rcnn.sampler.num=32',
        'model.test_cfg.rpn.max_per_img=50',
        *(
            f'{name}_dataloader.dataset.pipeline.{step}.scale=(160,160)'
            for name, step in (('train', 2), ('val', 1), ('test', 1))
        ),
    ],
    'semfpn': [
        'train_dataloader.dataset.pipeline.2.scale=(256,128)',
        'train_dataloader.dataset.pipeline.3.crop_size=(96,96)',
        'model.data_preprocessor.size=(96,96)',
        'val_dataloader.dataset.pipeline.1.scale=(256,128)',
        'test_dataloader.dataset.pipeline.1.scale=(256,128)',
    ],
}
SHORT = {
    'maskrcnn': ['train_cfg.max_epochs=1'],
    'semfpn': [
        'train_cfg.max_iters=2',
        'train_cfg.val_interval=2',
        'default_hooks.checkpoint.interval=2',
        'train_dataloader.batch_size=2',
    ],
}
CHECKPOINT = {'maskrcnn': 'epoch_1.pth', 'semfpn': 'iter_2.pth'}


@pytest.fixture(scope='module')
def own_data(tmp_path_factory):
    """Shapes, laid out as the templates ask for and under other names."""
    root, shapes = (tmp_path_factory.mktemp(name) for name in ('own', 'shapes'))
    write_shapes(shapes, splits={'train': 4, 'val': 2}, image_size=96)
    rename = dict(zip(CLASSES, OBJECTS, strict=True))
    (root / 'annotations').mkdir()
    for split, ade_split in SPLITS.items():
        images = shapes / 'coco' / f'{split}2017'
        shutil.copytree(images, root / split)
        shutil.copytree(images, root / 'images' / split)
        name = f'annotations/instances_{split}2017.json'
        content = json.loads((shapes / 'coco' / name).read_text())
        for category in content['categories']:
            category['name'] = rename[category['name']]
        (root / 'annotations' / f'{split}.json').write_text(json.dumps(content))
        (root / 'labels' / split).mkdir(parents=True)
        for path in (shapes / 'ade' / 'annotations' / ade_split).iterdir():
            labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            own = np.where(labels == 0, 255, labels - 1).astype(np.uint8)
            cv2.imwrite(str(root / 'labels' / split / path.name), own)
    return root


@pytest.mark.parametrize(
    ('method', 'classes', 'size'),
    [
        ('maskrcnn', OBJECTS, 'small'),
        ('semfpn', SURFACES, 'small'),
        pytest.param('maskrcnn', OBJECTS, 'full', marks=pytest.mark.slow),
        pytest.param('semfpn', SURFACES, 'full', marks=pytest.mark.slow),
    ],
)
def test_own_classes(method, classes, size, own_data, tmp_path):
    configs = tmp_path / 'configs'
    shutil.copytree(REPO / 'configs', configs)
    template = (configs / f'{method}_rapidnet_ti_custom.py').read_text()
    for before, after in (
        ("'data/custom/'", repr(f'{own_data}/')),
        ("('cat', 'dog')", repr(classes)),
        ("('road', 'car')", repr(classes)),
    ):
        template = template.replace(before, after)
    own = configs / 'my_own.py'
    own.write_text(template)

    options = [*SHORT[method], *(SMALL[method] if size == 'small' else [])]
    options += [f'{n}_dataloader.num_workers=1' for n in ('train', 'val', 'test')]
    common = ('--work-dir', tmp_path / 'run', '--cfg-options', *options)
    done = fork_tool('train.py', own, *common, timeout=1800)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    trained = json.loads((tmp_path / 'run' / 'metrics.json').read_text())

    checkpoint = tmp_path / 'run' / CHECKPOINT[method]
    done = fork_tool('test.py', own, checkpoint, *common, timeout=1800)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    tested = json.loads((tmp_path / 'run' / 'metrics.json').read_text())
    assert tested['metrics'] == trained['metrics']
    if method == 'semfpn':
        # mmsegmentation's table has a row for each class, by its name.
        for name in classes:
            assert re.search(rf'\|\s+{name}\s+\|', done.stdout), name

    image = next((own_data / 'val').iterdir())
    done = fork_tool(
        'infer.py',
        image,
        '--config',
        own,
        '--checkpoint',
        checkpoint,
        '--out',
        tmp_path / 'drawn',
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / 'drawn' / 'vis' / image.name).exists()
