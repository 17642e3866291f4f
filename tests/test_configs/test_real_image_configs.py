"""The configs for real images, from the published layouts to tested weights."""

import json

import numpy as np
import pytest
from helpers.commands import REPO
from helpers.published_data import write_camvid, write_nuclei, write_tiny_imagenet
from helpers.tool_server import fork_tool

from mmrapidnet.config.load import load_config
from mmrapidnet.datasets import convert

CAMVID = 'semfpn_rapidnet_ti_camvid'
NUCLEI = 'maskrcnn_rapidnet_ti_nuclei'
TINY_IMAGENET = 'rapidnet_ti_tinyimagenet'
ROOTS = {CAMVID: 'camvid', NUCLEI: 'nuclei', TINY_IMAGENET: 'tiny_imagenet50'}
SHORT = [
    'train_cfg.max_iters=2',
    'train_cfg.val_interval=2',
    'default_hooks.checkpoint.interval=2',
    'train_dataloader.batch_size=2',
    *(
        f'{name}_dataloader.{key}'
        for name in ('train', 'val', 'test')
        for key in ('num_workers=0', 'persistent_workers=False')
    ),
]
SMALL = {
    CAMVID: [
        'train_dataloader.dataset.pipeline.2.scale=(96,72)',
        'train_dataloader.dataset.pipeline.3.crop_size=(64,64)',
        'model.data_preprocessor.size=(64,64)',
    ],
    NUCLEI: [
        'model.train_cfg.rcnn.sampler.num=16',
        'model.test_cfg.rpn.max_per_img=20',
        *(
            f'{name}_dataloader.dataset.pipeline.{step}.scale=(96,96)'
            for name, step in (('train', 3), ('val', 2), ('test', 2))
        ),
    ],
    TINY_IMAGENET: [],
}


def load(name):
    return load_config(str(REPO / 'configs' / f'{name}.py'))


def write_camvid_set(root):
    convert.convert_camvid(write_camvid(root / 'CamVid', size=(72, 96)), root / 'data')


def write_nuclei_set(root):
    convert.convert_nuclei(write_nuclei(root / 'stage1_train'), root / 'data')


def write_tiny_imagenet_set(root):
    """The 50 classes of the config, each followed by three others."""
    kept = load(TINY_IMAGENET).train_dataloader.dataset.classes
    wnids = tuple(wnid + end for wnid in kept for end in ('', 'a', 'b', 'c'))
    src = write_tiny_imagenet(root / 'tiny-imagenet-200', wnids, train=1)
    convert.convert_tiny_imagenet(src, root / 'data', every=4)


@pytest.mark.parametrize('name', ROOTS)
def test_data_is_where_the_docs_put_it(name):
    cfg = load(name)
    loaders = cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader
    assert {loader.dataset.data_root for loader in loaders} == {f'data/{ROOTS[name]}/'}


def test_training_never_sees_the_test_split_of_camvid():
    cfg = load(CAMVID)
    prefixes = [
        cfg[f'{split}_dataloader'].dataset.data_prefix.to_dict()
        for split in ('train', 'val', 'test')
    ]
    assert prefixes == [
        dict(img_path=f'images/{split}', seg_map_path=f'labels/{split}')
        for split in ('train', 'val', 'test')
    ]


def test_classes_of_tiny_imagenet():
    cfg = load(TINY_IMAGENET)
    classes = cfg.train_dataloader.dataset.classes
    assert len({*classes}) == 50
    # As their folders are sorted.
    assert classes == sorted(classes) == cfg.test_dataloader.dataset.classes
    assert cfg.model.head.classifier.num_classes == cfg.data_preprocessor.num_classes
    assert cfg.data_preprocessor.num_classes == 50


@pytest.mark.parametrize('name', ROOTS)
def test_schedule_ends_with_the_training(name):
    cfg = load(name)
    length = cfg.train_cfg.max_iters
    assert cfg.param_scheduler[-1].end == length
    # The last weights are validated and kept.
    assert length % cfg.train_cfg.val_interval == 0
    assert length % cfg.default_hooks.checkpoint.interval == 0


@pytest.mark.parametrize(
    ('name', 'write', 'metric'),
    [
        (CAMVID, write_camvid_set, 'mIoU'),
        pytest.param(
            NUCLEI, write_nuclei_set, 'coco/segm_mAP_50', marks=pytest.mark.slow
        ),
        pytest.param(
            TINY_IMAGENET,
            write_tiny_imagenet_set,
            'accuracy/top1',
            marks=pytest.mark.slow,
        ),
    ],
)
def test_trains_and_tests_on_what_was_converted(name, write, metric, tmp_path):
    write(tmp_path)
    config, run = f'configs/{name}.py', tmp_path / 'run'
    options = ('--data-root', tmp_path / 'data', '--cfg-options', *SHORT, *SMALL[name])
    done = fork_tool('train.py', config, '--check-data', '--work-dir', run, *options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    test = tmp_path / 'test'
    options = ('--work-dir', test, *options)
    done = fork_tool('test.py', config, run / 'iter_2.pth', *options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    metrics = json.loads((test / 'metrics.json').read_text())['metrics']
    assert np.isfinite(metrics[metric])
