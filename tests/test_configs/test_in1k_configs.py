"""The ImageNet configs: the published models, tested as the published code tests."""

import json
import pickle
from functools import cache

import numpy as np
import pytest
import torch
from helpers.archs import one_per_family
from helpers.commands import REPO, assert_one_line_error
from helpers.tool_server import fork_tool
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.registry import DATASETS
from PIL import Image
from torchvision import transforms

from dev.model_zoo.classifiers import MODEL_NAMES, build_classifier
from mmrapidnet.apis.options import enable_amp
from mmrapidnet.config.load import load_config
from mmrapidnet.datasets.check.precheck import check_datasets
from mmrapidnet.utils.errors import UserError

CONFIG = 'configs/repvit_m0_6_in1k.py'
# Of each image of the fake ImageNet.
LABELS = (7, 7, 8, 12, 500, 7)
# The rank that the fake weights give to some classes; nothing else is in the first 5.
RANKED = (7, 8, 100, 12, 200)
QUICK = ('test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False')


def load(name: str):
    return load_config(str(REPO / 'configs' / f'{name}_in1k.py'))


@cache
def read(name: str):
    """A config that is looked at and not changed."""
    return load(name)


def build(cfg):
    init_default_scope(cfg.default_scope)
    return MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor})


def draw(path, size=(300, 260), seed=0):
    """A smooth picture: what JPEG and interpolation are made for."""
    coarse = np.random.RandomState(seed).randint(0, 256, (7, 9, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return path


@pytest.fixture(scope='module')
def class_folders(tmp_path_factory):
    """A folder for each of the 1000 classes, most of them empty."""
    root = tmp_path_factory.mktemp('imagenet') / 'folders'
    for label in range(1000):
        (root / 'val' / f'n{label:08d}').mkdir(parents=True)
    for i, label in enumerate(LABELS):
        draw(root / 'val' / f'n{label:08d}' / f'{i}.JPEG', seed=i)
    return root


@pytest.fixture(scope='module')
def image_list(tmp_path_factory):
    """All images in one folder, and mmpretrain's list of them."""
    root = tmp_path_factory.mktemp('imagenet') / 'list'
    lines = []
    for i, label in enumerate(LABELS):
        draw(root / 'val' / f'{i}.JPEG', seed=i)
        lines.append(f'{i}.JPEG {label}')
    (root / 'meta').mkdir()
    (root / 'meta' / 'val.txt').write_text('\n'.join(lines) + '\n')
    return root


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Random weights whose biases prefer some classes, whatever they see."""
    model = build(load('repvit_m0_6'))
    for layer in (model.head.classifier.head, model.head.classifier.dist_head):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
        for rank, label in enumerate(RANKED):
            layer.bias.data[label] = 10 - rank
    path = tmp_path_factory.mktemp('weights') / 'repvit_m0_6.pth'
    torch.save({'state_dict': model.state_dict()}, path)
    return path


@pytest.mark.parametrize('name', one_per_family(MODEL_NAMES))
def test_is_the_published_model(name):
    cfg = load(name)
    cfg.model.backbone.drop_path_rate = 0.0
    model, published = build(cfg), build_classifier(name)
    # Printed with every layer's arguments.
    assert str(model.backbone) == str(published.backbone)
    assert str(model.head.classifier) == str(published.classifier)
    assert len(model.backbone(torch.zeros(2, 3, 32, 32))) == 1


def test_every_published_model_has_a_config():
    found = {path.name for path in (REPO / 'configs').glob('*_in1k.py')}
    assert found == {f'{name}_in1k.py' for name in MODEL_NAMES}


@pytest.mark.parametrize('name', one_per_family(MODEL_NAMES))
def test_plugin_patches_before_it_imports_mmpretrain(name):
    imports = read(name).custom_imports
    assert imports['imports'] == [
        'mmrapidnet',
        'mmrapidnet.compat.patch_all',
        'mmrapidnet.models.classifiers',
        'mmrapidnet.engine.schedulers',
        'mmrapidnet.engine.hooks.adaptive_grad_clip',
    ]
    assert imports['allow_failed_imports'] is False


def test_leaves_are_short():
    for name in MODEL_NAMES:
        path = REPO / 'configs' / f'{name}_in1k.py'
        assert len(path.read_text().splitlines()) <= 8, name


@pytest.mark.parametrize('size', [(300, 260), (251, 640), (224, 224)])
@pytest.mark.parametrize('turned', [False, True])
@pytest.mark.parametrize(('name', 'edge'), [('rapidnet_b', 248), ('repvit_m1_1', 256)])
def test_images_are_prepared_as_published(name, edge, size, turned, tmp_path):
    """torchvision's evaluation transforms, which the published code uses."""
    path = draw(tmp_path / 'image.png', size)
    if turned:
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.open(path).save(path := tmp_path / 'image.jpg', exif=exif)
    prepare = transforms.Compose(
        [
            transforms.Resize(edge, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    wanted = prepare(Image.open(path).convert('RGB'))

    cfg = read(name)
    init_default_scope(cfg.default_scope)
    dataset = DATASETS.build(
        dict(
            type='CustomDataset',
            data_root=str(tmp_path),
            with_label=False,
            extensions=[path.suffix],
            pipeline=cfg.test_dataloader.dataset.pipeline,
        )
    )
    preprocessor = MODELS.build(
        {'type': 'ClsDataPreprocessor', **cfg.data_preprocessor}
    )
    sample = dataset[0]
    got = preprocessor(
        dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']])
    )['inputs'][0]
    # The means in 0 to 255 are rounded to three digits.
    assert torch.allclose(got, wanted, atol=1e-4)


@pytest.mark.parametrize(
    'layout', ['class_folders', pytest.param('image_list', marks=pytest.mark.slow)]
)
def test_testing(layout, request, checkpoint, tmp_path):
    root = request.getfixturevalue(layout)
    done = fork_tool(
        'test.py',
        CONFIG,
        checkpoint,
        '--data-root',
        root,
        '--work-dir',
        tmp_path / 'run',
        '--out',
        tmp_path / 'predictions.pkl',
        '--show-dir',
        tmp_path / 'drawn',
        '--confusion-matrix',
        '--cfg-options',
        *QUICK,
        'test_dataloader.batch_size=4',
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    record = json.loads((tmp_path / 'run' / 'metrics.json').read_text())
    metrics = record['metrics']
    # The first class is right for three images of six; only 500 is not in the five.
    assert metrics['accuracy/top1'] == pytest.approx(100 * 3 / 6)
    assert metrics['accuracy/top5'] == pytest.approx(100 * 5 / 6)
    figures = record['per_class'][RANKED[0]]
    assert (figures['precision'], figures['recall']) == (50.0, 100.0)
    assert (figures['f1-score'], figures['support']) == (66.67, 3)
    counted = json.loads((tmp_path / 'run' / 'confusion_matrix.json').read_text())
    column = np.array(counted['matrix'])[:, RANKED[0]]
    assert np.flatnonzero(column).tolist() == sorted(set(LABELS))
    assert (column[RANKED[0]], column.sum()) == (3, len(LABELS))
    with (tmp_path / 'predictions.pkl').open('rb') as file:
        predictions = pickle.load(file)
    assert [p['pred_label'].item() for p in predictions] == [RANKED[0]] * len(LABELS)
    assert sorted(p['gt_label'].item() for p in predictions) == sorted(LABELS)
    assert len([p for p in (tmp_path / 'drawn').rglob('*') if p.is_file()]) == len(
        LABELS
    )


def test_data_set_that_is_not_there(checkpoint, tmp_path):
    done = fork_tool('test.py', CONFIG, checkpoint, '--data-root', tmp_path / 'nowhere')
    assert_one_line_error(
        done,
        'nowhere/val is missing; expected there: one folder per class, '
        'or all images and',
        'nowhere/meta/val.txt beside it; give the folder with --data-root',
    )


def test_folders_and_lists_without_their_images(tmp_path):
    cfg = load('repvit_m0_6')
    dataset = cfg.test_dataloader.dataset

    def check(root, message):
        dataset.data_root = str(root)
        with pytest.raises(UserError, match=message):
            check_datasets(cfg, ['test_dataloader'])

    for label in range(1000):
        (tmp_path / 'val' / f'n{label:08d}').mkdir(parents=True)
    check(tmp_path, r'the folders in \S+val hold no images \(.*.jpeg, .*--data-root')
    listing = tmp_path / 'meta' / 'val.txt'
    listing.parent.mkdir()
    for text in ('', '0.JPEG\n', '0.JPEG seven\n'):
        listing.write_text(text)
        check(tmp_path, r'val.txt is not a list of images: its first line is .*expect')
    listing.write_text('0.JPEG 7\n')
    check(tmp_path, r'val.txt lists 0.JPEG, but \S+val/0.JPEG is missing; .* away')


def test_folder_without_all_classes(checkpoint, tmp_path):
    for name in 'abc':
        draw(tmp_path / 'val' / name / 'image.JPEG')
    done = fork_tool('test.py', CONFIG, checkpoint, '--data-root', tmp_path)
    assert_one_line_error(
        done, 'val holds 3 folders instead of 1000, one for each class; expected there'
    )


def test_what_the_data_set_check_lets_pass(class_folders, image_list, tmp_path):
    """Both layouts, and classes of one's own."""
    cfg = load('repvit_m0_6')
    dataset = cfg.test_dataloader.dataset
    for root in (class_folders, image_list):
        dataset.data_root = str(root)
        check_datasets(cfg, ['test_dataloader'])
    for name in 'abc':
        draw(tmp_path / 'val' / name / 'image.JPEG')
    dataset.update(data_root=str(tmp_path), classes=['a', 'b', 'c'])
    cfg.model.head.classifier.num_classes = 3
    check_datasets(cfg, ['test_dataloader'])
    dataset.update(ann_file='labels.txt')
    with pytest.raises(UserError, match=r'labels.txt is missing; expected there: '):
        check_datasets(cfg, ['test_dataloader'])


def test_config_without_a_recipe(tmp_path):
    path = tmp_path / 'testing.py'
    base = REPO / 'configs' / 'rapidnet_ti_in1k.py'
    path.write_text(f"_base_ = '{base}'\ntrain_cfg = None\n")
    assert_one_line_error(
        fork_tool('train.py', path),
        'testing.py has no training recipe (train_cfg): it is for testing weights, '
        'with tools/test.py CONFIG CHECKPOINT',
    )
    cfg = load('rapidnet_ti')
    cfg.optim_wrapper.type = 'OptimWrapperOfMyOwn'
    with pytest.raises(UserError, match=r'--amp needs optim_wrapper.type'):
        enable_amp(cfg)
