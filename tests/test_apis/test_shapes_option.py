"""Any config pointed at Shapes: what it keeps, what it takes, and two real runs."""

import json
import re
from functools import partial

import pytest
from helpers import tiny_models
from helpers.commands import REPO, assert_one_line_error
from helpers.tool_server import fork_tool
from mmengine.config import Config

from mmrapidnet.apis.shapes import point_at_shapes
from mmrapidnet.config.load import load_config
from mmrapidnet.datasets import shapes as data
from mmrapidnet.datasets.check.precheck import check_datasets
from mmrapidnet.utils.errors import UserError

CONFIGS = REPO / 'configs'
DET = 'configs/maskrcnn_repvit_m1_1_coco.py'
SEG = 'configs/semfpn_mobilenetv2_x1_4_ade20k.py'
# What a run on Shapes has in common with the Shapes configs.
TAKEN = (
    'auto_scale_lr',
    'custom_hooks',
    'default_hooks',
    'log_processor',
    'optim_wrapper',
    'param_scheduler',
    'randomness',
    'test_cfg',
    'test_dataloader',
    'test_evaluator',
    'train_cfg',
    'train_dataloader',
    'tta_model',
    'tta_pipeline',
    'val_cfg',
    'val_dataloader',
    'val_evaluator',
)


def on_shapes(path, root='/there', **kwargs) -> Config:
    adapt = partial(point_at_shapes, root=root, configs=CONFIGS)
    return load_config(str(REPO / path), adapt=adapt, **kwargs)


@pytest.mark.parametrize(
    ('config', 'donor', 'layout', 'classes'),
    [
        (DET, 'maskrcnn_rapidnet_ti_shapes.py', 'coco', data.CLASSES),
        (SEG, 'semfpn_rapidnet_ti_shapes.py', 'ade', data.SEG_CLASSES),
    ],
)
def test_all_but_the_model_is_that_of_the_shapes_config(config, donor, layout, classes):
    cfg = on_shapes(config).to_dict()
    wanted = load_config(str(CONFIGS / donor), data_root=f'/there/{layout}').to_dict()
    for key in TAKEN:
        assert cfg.get(key) == wanted.get(key), key
    dataset = cfg['train_dataloader']['dataset']
    assert dataset['data_root'].rstrip('/') == f'/there/{layout}'
    assert tuple(dataset['metainfo']['classes']) == tuple(classes)
    assert cfg['shapes_root'] == '/there'


@pytest.mark.parametrize('config', [DET, SEG])
def test_the_model_changes_in_its_classes_alone(config):
    own = load_config(str(REPO / config)).to_dict()
    model, before = on_shapes(config).to_dict()['model'], own['model']
    if config == DET:
        for head in ('bbox_head', 'mask_head'):
            assert before['roi_head'][head].pop('num_classes') == 80
            assert model['roi_head'][head].pop('num_classes') == 6
        # Its frozen statistics would be those of weights that are not there.
        assert before['backbone'].pop('norm_eval') is True
        assert model['backbone'].pop('norm_eval') is False
    else:
        assert before['decode_head'].pop('num_classes') == 150
        assert model['decode_head'].pop('num_classes') == 7
        assert before['data_preprocessor'].pop('size') == (512, 512)
        assert model['data_preprocessor'].pop('size') == (192, 192)
    assert model == before
    cfg = on_shapes(config)
    assert cfg.custom_imports.to_dict() == own['custom_imports']
    assert cfg.get('find_unused_parameters') == own.get('find_unused_parameters')


def test_heads_at_any_depth(tmp_path):
    """Of another method, with several stages of heads."""
    path = tmp_path / 'cascade.py'
    base = 'mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py'
    path.write_text(f'_base_ = {base!r}')
    cfg = on_shapes(path)
    heads = [*cfg.model.roi_head.bbox_head, cfg.model.roi_head.mask_head]
    assert [head.num_classes for head in heads] == [6, 6, 6, 6]
    assert cfg.train_cfg.to_dict() == dict(
        type='IterBasedTrainLoop', max_iters=700, val_interval=350
    )


@pytest.mark.parametrize(
    ('config', 'metrics'),
    [
        (DET, ['bbox', 'segm']),
        ('configs/retinanet_rapidnet_s_coco.py', ['bbox']),
        ('configs/rtmdet_ins_rapidnet_ti_coco.py', ['bbox', 'segm']),
        ('configs/solov2_light_rapidnet_s_coco.py', ['segm']),
    ],
)
def test_what_a_detector_gives_is_measured(config, metrics):
    cfg = on_shapes(config)
    assert cfg.val_evaluator.metric == cfg.test_evaluator.metric == metrics
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        (reads_masks,) = (
            step.with_mask for step in loader.dataset.pipeline if 'with_mask' in step
        )
        assert reads_masks == ('segm' in metrics)


def test_options_have_the_last_word():
    options = {'train_cfg.max_iters': 7, 'model.backbone.norm_eval': True}
    cfg = on_shapes(DET, options=options)
    assert cfg.train_cfg.max_iters == 7
    assert cfg.model.backbone.norm_eval is True


def test_runs_on_shapes_have_a_folder_of_their_own():
    assert on_shapes(DET).work_dir == 'work_dirs/maskrcnn_repvit_m1_1_coco_on_shapes'
    assert on_shapes(DET, work_dir='there').work_dir == 'there'


@pytest.mark.parametrize(
    ('base', 'words'),
    [
        (
            'mmpretrain::resnet/resnet18_8xb32_in1k.py',
            'own.py is of mmpretrain with the model ImageClassifier: it must be',
        ),
        (
            'mmdet::panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py',
            'own.py is of mmdet with the model PanopticFPN: it must be a detector with '
            r'a box or mask head \(mmdet; not a panoptic one\) or a segmenter',
        ),
    ],
)
def test_configs_that_shapes_has_no_labels_for(base, words, tmp_path):
    (tmp_path / 'own.py').write_text(f'_base_ = {base!r}')
    with pytest.raises(UserError, match=f'^--shapes: .*{words}'):
        on_shapes(tmp_path / 'own.py')


def test_a_missing_data_set_says_how_to_make_it(tmp_path):
    cfg = on_shapes(DET, root=tmp_path / 'gone')
    message = (
        rf'no data set at .*gone/coco: .*; make it: python tools/make_shapes.py '
        rf'{tmp_path / "gone"}$'
    )
    with pytest.raises(UserError, match=message):
        check_datasets(cfg, ['train_dataloader'])


def test_command_lines_that_cannot_be(tmp_path):
    where = ('--shapes', tmp_path, '--data-root', 'elsewhere')
    done = fork_tool('train.py', DET, *where)
    assert_one_line_error(
        done, f'--shapes {tmp_path} and --data-root elsewhere both say', 'give one of'
    )
    done = fork_tool('test.py', DET, 'nowhere.pth', '--shapes', tmp_path / 'gone')
    assert_one_line_error(done, 'make it: python tools/make_shapes.py')


@pytest.mark.parametrize(
    ('base', 'metrics', 'options'),
    [
        # Without a threshold even a detector that has just begun finds something.
        pytest.param(
            'maskrcnn_rapidnet_ti_coco.py',
            {'coco/bbox_mAP', 'coco/segm_mAP'},
            ['model.test_cfg.rcnn.score_thr=0.0'],
            marks=pytest.mark.slow,
        ),
        ('semfpn_rapidnet_ti_ade20k.py', {'aAcc', 'mIoU', 'mAcc'}, []),
    ],
)
def test_training_and_what_follows(base, metrics, options, shapes_root, tmp_path):
    kind = 'detector' if base.startswith('maskrcnn') else 'segmenter'
    config = tiny_models.write_config(kind, tmp_path, base)
    short = (
        'train_cfg.max_iters=2',
        'train_cfg.val_interval=2',
        'default_hooks.checkpoint.interval=2',
        'default_hooks.logger.interval=1',
        'train_dataloader.batch_size=2',
        'val_dataloader.batch_size=2',
        'test_dataloader.batch_size=2',
        *(
            f'{name}_dataloader.{key}'
            for name in ('train', 'val', 'test')
            for key in ('num_workers=0', 'persistent_workers=False')
        ),
        # The recipe's is of another model.
        'model.backbone.drop_path_rate=0.0',
        *options,
    )
    run, test = tmp_path / 'run', tmp_path / 'test'
    common = ('--shapes', shapes_root, '--cfg-options', *short)
    done = fork_tool('train.py', config, '--work-dir', run, *common)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    losses = re.findall(r'Iter\(train\)\s*\[(\d)/2\].*?\bloss: (\d+\.\d+)', done.stdout)
    assert [step for step, _ in losses] == ['1', '2']
    trained = json.loads((run / 'metrics.json').read_text())
    assert set(trained['metrics']) >= metrics

    checkpoint = run / 'iter_2.pth'
    done = fork_tool('test.py', config, checkpoint, '--work-dir', test, *common)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    tested = json.loads((test / 'metrics.json').read_text())
    assert tested['metrics'] == trained['metrics']

    # What the training wrote is the config of the model on Shapes for every other tool.
    written = run / config.name
    image = sorted((shapes_root / 'coco' / 'val2017').glob('*.jpg'))[0]
    drawn, exported = tmp_path / 'drawn', tmp_path / 'model.onnx'
    where = ('--config', written, '--checkpoint', checkpoint, '--out', drawn)
    fused, before = tmp_path / 'fused.pth', written.read_text()
    for command in (
        ('infer.py', image, *where),
        ('check_dataset.py', written),
        ('fuse.py', checkpoint, fused, '--config', written),
        ('export.py', written, checkpoint, '--format', 'onnx', '--out', exported),
        ('test.py', written, fused),
    ):
        done = fork_tool(*command)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert len(list((drawn / 'vis').iterdir())) == 1
    assert exported.is_file()
    # Its work dir is the run's own, where no other run replaces it.
    assert written.read_text() == before
    tested = json.loads((run / 'metrics.json').read_text())
    assert tested['metrics'] == pytest.approx(trained['metrics'], abs=1e-3)
