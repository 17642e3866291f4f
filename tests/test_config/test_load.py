"""Reading configs, moving data sets, and what the options do."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from helpers.archs import one_per_family
from helpers.commands import REPO
from mmengine.config import Config, ConfigDict
from mmengine.registry import HOOKS
from torch import nn

from mmrapidnet.apis import options
from mmrapidnet.compat import config_packages
from mmrapidnet.config.libraries import require_library
from mmrapidnet.config.load import iter_datasets, load_config, move_data_root
from mmrapidnet.datasets.check.precheck import check_datasets
from mmrapidnet.utils.errors import UserError

CONFIGS = REPO / 'configs'
DET = str(CONFIGS / 'maskrcnn_rapidnet_s_coco.py')
SEG = str(CONFIGS / 'semfpn_rapidnet_s_ade20k.py')


def strings(node):
    if isinstance(node, dict):
        for value in node.values():
            yield from strings(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from strings(value)
    elif isinstance(node, str):
        yield node


def assert_every_path_moves(config, new_root):
    before = load_config(str(config))
    old = {d['data_root'].rstrip('/') for d in iter_datasets(before.test_dataloader)}
    after = load_config(str(config), data_root=new_root)
    texts = list(strings(after.to_dict()))
    assert not [t for t in texts if t.rstrip('/') in old or t.startswith(tuple(old))]
    moved = [t for t in texts if t.startswith('/elsewhere/set')]
    unmoved = [t for t in strings(before.to_dict()) if t.startswith(tuple(old))]
    assert len(moved) == len(unmoved)
    for dataset in iter_datasets(after.get('train_dataloader')):
        assert dataset.data_root.rstrip('/') == '/elsewhere/set'
    if after.default_scope == 'mmdet':
        assert after.test_evaluator.ann_file.startswith('/elsewhere/set/annotations/')


@pytest.mark.parametrize(
    'name',
    # A model alone has no data; a config of poses cannot be read without mmpose.
    one_per_family(
        [
            path.name
            for path in sorted(CONFIGS.glob('*.py'))
            if not path.name.startswith(('sam_', 'rtmpose_'))
            or path.name == 'sam_repvit_m2_3_coco.py'
        ]
    ),
)
def test_data_root_moves_every_path(name):
    assert_every_path_moves(CONFIGS / name, '/elsewhere/set/')


@pytest.mark.parametrize('config', [DET, SEG])
def test_data_root_needs_no_slash(config):
    assert_every_path_moves(config, '/elsewhere/set')


def test_data_root_moves_wrapped_sets():
    leaf = dict(type='CocoDataset', data_root='data/a/', ann_file='data/a/x.json')
    other = dict(type='CocoDataset', data_root='data/ab', ann_file='x.json')
    wrapped = dict(
        type='ConcatDataset', datasets=[dict(type='RepeatDataset', dataset=leaf), other]
    )
    cfg = Config(dict(train_dataloader=dict(dataset=wrapped), name='data/abc'))
    move_data_root(cfg, 'new')
    first, second = iter_datasets(cfg.train_dataloader)
    assert (first.data_root, first.ann_file) == ('new/', 'new/x.json')
    assert (second.data_root, second.ann_file) == ('new', 'x.json')
    assert cfg.name == 'data/abc'


def test_data_root_without_one():
    cfg = Config(dict(train_dataloader=dict(dataset=dict(type='X'))))
    with pytest.raises(UserError, match='--data-root there: the data sets of this con'):
        move_data_root(cfg, 'there')


def test_work_dir_and_options():
    cfg = load_config(
        DET, {'model.backbone.arch': 'ti', 'optim_wrapper.optimizer.lr': 1}
    )
    assert cfg.work_dir == 'work_dirs/maskrcnn_rapidnet_s_coco'
    assert (cfg.model.backbone.arch, cfg.optim_wrapper.optimizer.lr) == ('ti', 1)
    assert load_config(DET, work_dir='there').work_dir == 'there'


def test_missing_or_broken_config(tmp_path):
    with pytest.raises(UserError, match='there is no config nowhere.py: give the path'):
        load_config('nowhere.py')
    (tmp_path / 'broken.py').write_text('model = dict(')
    with pytest.raises(UserError, match='broken.py is not valid Python'):
        load_config(str(tmp_path / 'broken.py'))
    (tmp_path / 'orphan.py').write_text("_base_ = 'gone.py'")
    with pytest.raises(
        UserError, match=r'orphan.py builds on a missing one: .*gone.py'
    ):
        load_config(str(tmp_path / 'orphan.py'))


def test_config_of_a_library_that_is_not_installed(monkeypatch):
    monkeypatch.setattr('mmengine.config.config.is_installed', lambda package: False)
    monkeypatch.setattr(config_packages, 'find_spec', lambda module: None)
    message = r'mmdet is not installed.* pip install "mmrapidnet\[det,seg,cls\]" brings'
    with pytest.raises(UserError, match=message):
        load_config(DET)


def test_amp():
    cfg = load_config(DET)
    options.enable_amp(cfg)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.loss_scale == 'dynamic'
    cfg.optim_wrapper.type = 'ApexOptimWrapper'
    with pytest.raises(UserError, match="--amp needs .* but it is 'ApexOptimWrapper'"):
        options.enable_amp(cfg)


def test_fast_step():
    cfg = load_config(SEG)
    cfg.custom_hooks = [dict(type='EmptyCacheHook')]
    options.enable_fast_step(cfg)
    fused = cfg.optim_wrapper.optimizer.get('fused', False)
    assert fused is (torch.__version__ >= '2.4')
    assert 'mmrapidnet' in cfg.custom_imports.imports
    # Another process that reads the config finds the hook.
    assert 'mmrapidnet.engine.hooks.channels_last' in cfg.custom_imports.imports
    _, hook = map(HOOKS.build, cfg.custom_hooks)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    hook.before_train(SimpleNamespace(model=model))
    features = model(torch.zeros(1, 3, 9, 9))
    assert features.is_contiguous(memory_format=torch.channels_last)


def test_what_cannot_be_fused():
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(type='RMSprop'))))
    options.fuse_optimizer(cfg)
    assert 'fused' not in cfg.optim_wrapper.optimizer
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(type='AdamW', fused=False))))
    options.fuse_optimizer(cfg)
    assert cfg.optim_wrapper.optimizer.fused is False


def test_auto_scale_lr():
    cfg = load_config(SEG)
    options.enable_auto_scale_lr(cfg)
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=32)
    cfg.auto_scale_lr = dict(enable=False)
    with pytest.raises(UserError, match='--auto-scale-lr needs auto_scale_lr'):
        options.enable_auto_scale_lr(cfg)


def test_value_of_accumulate():
    assert (options.batches('4'), options.batches('recipe')) == (4, 'recipe')
    with pytest.raises(ValueError, match='invalid literal'):
        options.batches('x')


def test_resume_and_pretrained():
    cfg = load_config(DET)
    options.resume_from(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == ('auto', None)
    options.resume_from(cfg, 'x.pth')
    assert (cfg.resume, cfg.load_from) == (True, 'x.pth')
    options.start_backbone_from(cfg, 'w.pth')
    assert cfg.model.backbone.init_cfg == dict(type='Pretrained', checkpoint='w.pth')


def test_predictions_are_kept(tmp_path):
    det, seg = load_config(DET), load_config(SEG)
    with pytest.raises(UserError, match=r'--out there: .* go into a \.pkl file'):
        options.save_predictions(det, 'there')
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match='the folder .*/file cannot be made: '):
        options.save_predictions(det, str(tmp_path / 'file' / 'p.pkl'))
    options.save_predictions(det, str(tmp_path / 'new' / 'p.pkl'))
    assert [m.type for m in det.test_evaluator] == ['CocoMetric', 'DumpDetResults']
    options.save_predictions(seg, 'there')
    assert seg.custom_hooks[-1] == dict(type='SaveLabelMapsHook', out_dir='there')


def test_predictions_are_kept_however_metrics_are_written(tmp_path):
    out = str(tmp_path / 'p.pkl')
    dump = dict(type='DumpDetResults', out_file_path=out)
    coco, other = dict(type='CocoMetric'), dict(type='Other')
    for given, expected in [
        (coco, [coco, dump]),
        ([coco, other], [coco, other, dump]),
        (
            dict(type='Evaluator', metrics=coco),
            dict(type='Evaluator', metrics=[coco, dump]),
        ),
    ]:
        cfg = Config(dict(default_scope='mmdet', test_evaluator=given))
        options.save_predictions(cfg, out)
        assert cfg.test_evaluator == expected
    apart = dict(type='MultiDatasetsEvaluator', metrics=[coco], dataset_prefixes=['a'])
    cfg = Config(dict(default_scope='mmdet', test_evaluator=apart))
    with pytest.raises(UserError, match='--out .*p.pkl: test_evaluator evaluates data'):
        options.save_predictions(cfg, out)


def test_drawing():
    cfg = load_config(DET)
    hook = dict(type='DrawPredictionsHook', out_dir='there')
    options.draw_predictions(cfg, 'there')
    assert cfg.custom_hooks[-1] == dict(**hook, score_thr=0.3)
    cfg.default_hooks.visualization = dict(type='DetVisualizationHook', score_thr=0.7)
    options.draw_predictions(cfg, 'there')
    assert cfg.custom_hooks[-1] == dict(**hook, score_thr=0.7)
    cfg.default_hooks.pop('visualization')
    options.draw_predictions(cfg, 'there')
    assert cfg.custom_hooks[-1] == dict(**hook, score_thr=0.3)


def test_tta():
    with pytest.raises(
        UserError, match='mmdet has no test-time augmentation for masks'
    ):
        options.enable_tta(load_config(DET))
    cfg = load_config(SEG)
    options.enable_tta(cfg)
    assert cfg.model.type == 'SegTTAModel'
    assert cfg.model.module.type == 'EncoderDecoder'
    assert cfg.test_dataloader.dataset.pipeline[1].type == 'TestTimeAug'
    bare = load_config(SEG)
    bare.pop('tta_model')
    with pytest.raises(UserError, match='--tta needs tta_model and tta_pipeline'):
        options.enable_tta(bare)


def test_unknown_scope(monkeypatch):
    cfg = load_config(DET)
    assert require_library(cfg) == 'mmdet'
    monkeypatch.setattr('mmrapidnet.config.libraries.find_spec', lambda name: None)
    with pytest.raises(
        UserError, match=r'needs mmdet, .* pip install "mmrapidnet\[det'
    ):
        require_library(cfg)
    cfg.model = 1
    with pytest.raises(UserError, match='model of .* is 1: it must be a dict'):
        require_library(cfg)
    cfg.default_scope, cfg.model = 'mmocr', {}
    with pytest.raises(UserError, match="is 'mmocr': it must be one of mmdet, mmseg"):
        require_library(cfg)


def dataloader(root, **kwargs):
    dataset = dict(
        type='CocoDataset',
        data_root=str(root),
        ann_file='a.json',
        data_prefix=dict(img='img/'),
        **kwargs,
    )
    loader = dict(dataset=ConfigDict(dataset))
    return Config(dict(default_scope='mmdet', test_dataloader=loader))


def test_dataset_check(tmp_path):
    cfg = dataloader(tmp_path, metainfo=dict(classes=('cat', 'dog')))
    missing = (
        r'no data set at .*: .*a.json is missing; expected there: a.json, img/; give '
        r'the folder with --data-root DIR; `make quickstart` needs no data set'
    )
    with pytest.raises(UserError, match=missing):
        check_datasets(cfg, ['test_dataloader'])
    annotations = tmp_path / 'a.json'
    annotations.write_text('{"images": [')
    with pytest.raises(UserError, match='img is missing'):
        check_datasets(cfg, ['test_dataloader'])
    (tmp_path / 'img').mkdir()
    for text in ('{"images": [', '[]', '{"images": []}', '\x00\x01'):
        annotations.write_text(text)
        with pytest.raises(UserError, match='a.json is not an annotation file in COCO'):
            check_datasets(cfg, ['test_dataloader'])
    categories = [dict(id=1, name='cat'), dict(id=2, name='bird')]
    (tmp_path / 'img' / 'a.png').write_bytes(
        cv2.imencode('.png', np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    )
    image = dict(id=1, file_name='a.png', height=8, width=8)
    box = dict(id=1, image_id=1, category_id=1, bbox=[1, 1, 4, 4], area=16, iscrowd=0)
    content = dict(images=[image], annotations=[box], categories=categories)
    annotations.write_text(json.dumps(content))
    # A model may know more classes than a file has, but not others alone.
    check_datasets(cfg, ['test_dataloader'])
    cfg = dataloader(tmp_path, metainfo=dict(classes=('fish', 'dog')))
    with pytest.raises(
        UserError, match="none of 'fish', 'dog' is a category .* has 'cat', 'bird'"
    ):
        check_datasets(cfg, ['test_dataloader'])
    # Without `classes` they are those of COCO, which has both.
    check_datasets(dataloader(tmp_path), ['test_dataloader'])


@pytest.mark.parametrize('name', ['RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'])
def test_one_process_reads_the_annotations(name, tmp_path, monkeypatch):
    (tmp_path / 'img').mkdir()
    (tmp_path / 'a.json').write_text('[]')
    monkeypatch.setenv(name, '1')
    check_datasets(dataloader(tmp_path), ['test_dataloader'])
    monkeypatch.setenv(name, '0')
    with pytest.raises(UserError, match='a.json is not an annotation file'):
        check_datasets(dataloader(tmp_path), ['test_dataloader'])
