"""Exported files as functions of an image, and as models of the libraries.

Where the file does not matter, a session runs the graph itself, so that results must
equal the libraries' own; every format runs in `test_formats/`.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny_models import GraphSession, load, write_checkpoint, write_imagenet
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner
from pycocotools.mask import encode

from mmrapidnet.apis import inference as infer
from mmrapidnet.apis.test import build_test_runner
from mmrapidnet.checkpoints.state_dict import read_checkpoint
from mmrapidnet.deploy import adapters
from mmrapidnet.deploy import inference as runner
from mmrapidnet.deploy.graphs import build_graph
from mmrapidnet.deploy.inference import ExportedModel, read_settings
from mmrapidnet.deploy.loading import load_model
from mmrapidnet.deploy.metadata import describe
from mmrapidnet.utils.errors import UserError

KINDS = ('segmenter', 'detector', 'classifier')
# Of what a network gives, relative to the largest: kernels add in different orders.
ROUNDING = 5e-6


@pytest.fixture(scope='module')
def roots(shapes_root, tmp_path_factory):
    return {
        'segmenter': shapes_root / 'ade',
        'detector': shapes_root / 'coco',
        'classifier': write_imagenet(tmp_path_factory.mktemp('data') / 'imagenet'),
    }


@pytest.fixture(scope='module')
def models(roots, tmp_path_factory):
    """Of each kind the config, the library's model, and a session of its graph."""
    folder, made = tmp_path_factory.mktemp('models'), {}
    for kind in KINDS:
        cfg = load(kind, folder, roots[kind])
        if kind == 'classifier':
            cfg.model.data_preprocessor = cfg.data_preprocessor
        path = str(write_checkpoint(cfg, folder / f'{kind}.pth'))
        model = load_model(cfg, read_checkpoint(path), path)
        graph = build_graph(model)
        metadata = describe(cfg, graph, 'fp32', path, None)
        metadata['settings'] = read_settings(model, graph)
        made[kind] = cfg, model, GraphSession(graph, metadata)
    return made


@pytest.fixture
def use_session(monkeypatch):
    """Let files be opened as a session; gives how they were opened."""
    opened = []

    def use(session):
        def opener(name):
            return lambda path, **how: opened.append(name) or session

        for name in ('open_session', 'IsolatedSession'):
            monkeypatch.setattr(runner, name, opener(name))
        return opened

    return use


def make_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def test_outputs_are_the_graphs(models, use_session):
    _, _, session = models['segmenter']
    use_session(session)
    image = make_image(64, 96)
    outputs = ExportedModel('any.onnx')(image)
    expected = session(np.float32(image.transpose(2, 0, 1)[None]))
    assert outputs['logits'].shape == (1, 7, 16, 24)
    np.testing.assert_array_equal(outputs['logits'], expected['logits'])


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (make_image(64, 96).astype(np.float32), 'float32 (64, 96, 3) was given to any'),
        (
            make_image(64, 96)[..., 0],
            'uint8 (64, 96) was given to any.onnx',
        ),
    ],
)
def test_what_is_no_image(image, message, models, use_session):
    use_session(models['segmenter'][2])
    with pytest.raises(UserError) as error:
        ExportedModel('any.onnx')(image)
    assert message in str(error.value)


def test_a_part_of_a_model_predicts_nothing(models, use_session):
    _, model, session = models['segmenter']
    graph = build_graph(model, 'backbone')
    metadata = {**session.metadata, 'kind': 'backbone', 'outputs': graph.outputs}
    use_session(GraphSession(graph, metadata))
    part = ExportedModel('part.onnx')
    assert set(part(make_image(64, 96))) == {f'feature{i}' for i in range(4)}
    with pytest.raises(UserError, match='part.onnx holds the backbone part'):
        part.predict(make_image(64, 96))


def test_results_without_a_config(models, use_session):
    """`predict` gives them in the size of the image, or of the picture it is from."""
    image = make_image(64, 96)
    for kind in KINDS:
        use_session(models[kind][2])
        file = ExportedModel('any.onnx')
        if kind == 'segmenter':
            assert file.predict(image)['labels'].shape == (64, 96)
            assert file.predict(image, (50, 70))['labels'].shape == (50, 70)
        elif kind == 'classifier':
            found = file.predict(image)
            assert found['label'] == found['scores'].argmax()
            assert found['scores'].sum() == pytest.approx(1, abs=1e-5)
        else:
            small, large = file.predict(image), file.predict(image, (128, 192))
            assert small['masks'].shape[1:] == (64, 96)
            assert large['masks'].shape[1:] == (128, 192)
            np.testing.assert_allclose(large['boxes'], small['boxes'] * 2, rtol=1e-6)


def make_batch(cfg, count=2):
    init_default_scope(cfg.default_scope)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    return pseudo_collate([dataset[i] for i in range(count)])


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(
    ('scale', 'mkldnn'),
    [
        ((192, 192), True),
        ((150, 120), False),
        pytest.param((192, 192), False, marks=pytest.mark.slow),
        pytest.param((150, 120), True, marks=pytest.mark.slow),
    ],
)
def test_a_batch_equals_the_librarys(kind, scale, mkldnn, models, use_session):
    """Through the config's pipeline, at the size of the picture and at another.

    The file computes image by image, and with kernels of its own.
    """
    cfg, model, session = models[kind]
    use_session(session)
    cfg = Config(cfg.to_dict())
    if kind != 'classifier':
        resize = cfg.test_dataloader.dataset.pipeline[1]
        resize.update(scale=scale, keep_ratio=False)
    expected = model.test_step(make_batch(cfg))
    batch = make_batch(cfg)
    adapters.use_exported(cfg, 'any.onnx')
    exported = MODELS.build(cfg.model)
    with torch.backends.mkldnn.flags(enabled=mkldnn):
        found = exported.test_step(batch)
    assert len(found) == len(expected) == 2
    for one, other in zip(found, expected):
        if kind == 'segmenter':
            labels = one.pred_sem_seg.data
            assert labels.shape == (1, 96, 96)
            # Near ties fall either way: at most 9 of 9,216 pixels.
            assert (labels != other.pred_sem_seg.data).float().mean() < 1e-3
        elif kind == 'classifier':
            assert torch.equal(one.pred_label, other.pred_label)
            torch.testing.assert_close(
                one.pred_score, other.pred_score, atol=1e-6, rtol=20 * ROUNDING
            )
            assert torch.equal(one.gt_label, other.gt_label)
        else:
            assert_same_instances(one.pred_instances, other.pred_instances)


def assert_same_instances(found, expected):
    """The same within rounding, in whatever order near ties come.

    Logits reach 17 here, so `ROUNDING` changes the difference of two by 1.7e-4 and a
    score by a quarter of that.  Boxes have up to 192 pixels and are refined by up to
    4.2 times that (21 deviations of 0.2): 4e-3 pixels.  Single values may err by 2.4
    times as much.
    """
    assert len(found) == len(expected) > 3
    places = [
        torch.cat([x.bboxes, x.labels[:, None] * 1e3], 1) for x in (expected, found)
    ]
    nearest = torch.cdist(*places).argmin(dim=1)
    assert sorted(nearest.tolist()) == list(range(len(expected)))
    found = found[nearest]
    assert torch.equal(found.labels, expected.labels)
    torch.testing.assert_close(
        found.scores, expected.scores, atol=20 * ROUNDING, rtol=0
    )
    torch.testing.assert_close(
        found.bboxes, expected.bboxes, atol=1920 * ROUNDING, rtol=0
    )
    assert found.masks.dtype == expected.masks.dtype
    assert found.masks.shape == expected.masks.shape
    # 5 pixels per mask; half a pixel to the side would be more than a hundred.
    assert (found.masks != expected.masks).float().mean() < 5e-4


@pytest.fixture(scope='module')
def detections(models):
    """What mmdet finds in one image."""
    cfg, model, _ = models['detector']
    return model.test_step(make_batch(cfg, 1))[0].pred_instances


@pytest.mark.parametrize(
    ('key', 'change'),
    [
        ('bboxes', lambda boxes: boxes + 0.02),
        ('scores', lambda scores: scores - 2e-4),
        ('labels', lambda labels: (labels + 1) % 4),
        ('masks', lambda masks: masks.roll(1, dims=2)),
        ('bboxes', lambda boxes: boxes[:1].expand_as(boxes)),
    ],
)
def test_rounding_excuses_no_mistake(key, change, detections):
    expected = detections
    found = expected[torch.arange(len(expected)).flip(0)]
    assert_same_instances(found, expected)
    found[key] = change(found[key])
    with pytest.raises(AssertionError):
        assert_same_instances(found, expected)


def test_no_detections(models, use_session):
    cfg, _, session = models['detector']

    class Nothing(GraphSession):
        def __call__(self, image):
            return {name: value[:0] for name, value in super().__call__(image).items()}

    use_session(Nothing(session.graph, session.metadata))
    cfg = Config(cfg.to_dict())
    batch = make_batch(cfg, 1)
    adapters.use_exported(cfg, 'any.onnx')
    (found,) = MODELS.build(cfg.model).test_step(batch)
    assert found.pred_instances.masks.shape == (0, 96, 96)
    assert found.pred_instances.bboxes.shape == (0, 4)


def test_what_mmdets_samples_are_given():
    boxes = dict(boxes=np.zeros((2, 4)), scores=np.ones(2), labels=np.ones(2, int))
    sample = DetDataSample()
    adapters.ExportedDetector.put_into(None, sample, boxes)
    assert set(sample.pred_instances.keys()) == {'bboxes', 'scores', 'labels'}
    sample = DetDataSample()
    panoptic = {**boxes, 'masks': np.zeros((2, 5, 6), bool), 'panoptic': np.eye(5)}
    adapters.ExportedDetector.put_into(None, sample, panoptic)
    # As PanopticFPN gives them.
    assert sample.keys() == ['pred_panoptic_seg']
    assert sample.pred_panoptic_seg.sem_seg.shape == (1, 5, 5)


def annotate_with_predictions(cfg, model, path):
    """Make what a model finds the ground truth, for metrics that are not 0."""
    batch = make_batch(cfg, 6)
    content = json.loads(Path(cfg.test_evaluator.ann_file).read_text())
    content['annotations'] = []
    for sample in model.test_step(batch):
        found = sample.pred_instances
        for box, label, mask in zip(found.bboxes, found.labels, found.masks.numpy()):
            rle = encode(np.asfortranarray(mask, dtype=np.uint8))
            x0, y0, x1, y1 = box.tolist()
            content['annotations'].append(
                dict(
                    id=len(content['annotations']) + 1,
                    image_id=sample.img_id,
                    category_id=content['categories'][label]['id'],
                    bbox=[x0, y0, x1 - x0, y1 - y0],
                    area=int(mask.sum()),
                    segmentation={**rle, 'counts': rle['counts'].decode()},
                    iscrowd=0,
                )
            )
    path.write_text(json.dumps(content))
    cfg = Config(cfg.to_dict())
    cfg.test_dataloader.dataset.ann_file = str(path)
    cfg.test_evaluator.ann_file = str(path)
    return cfg


@pytest.mark.parametrize(
    'kind',
    [
        'detector',
        # Files of them: `test_export_tool.py`, `test_other_models.py`.
        pytest.param('segmenter', marks=pytest.mark.slow),
        pytest.param('classifier', marks=pytest.mark.slow),
    ],
)
def test_a_whole_run_gives_the_librarys_metrics(kind, models, use_session, tmp_path):
    """`Runner.test` with the config's data loader and metrics."""
    cfg, model, session = models[kind]
    use_session(session)
    if kind == 'detector':
        cfg = annotate_with_predictions(cfg, model, tmp_path / 'predicted.json')
    metrics = []
    for exported in (False, True):
        ours = Config(cfg.to_dict())
        ours.work_dir = str(tmp_path)
        # Runs that begin in the same second are one to mmengine if they are called so.
        ours.experiment_name = f'{kind}_{exported}'
        if exported:
            adapters.use_exported(ours, 'any.onnx')
        test_runner = Runner.from_cfg(ours)
        if not exported:
            test_runner.model.load_state_dict(model.state_dict())
        metrics.append(test_runner.test())
    # mIoU is in percent, with two digits, of which one pixel can change the last.
    tolerance = 0.05 if kind == 'segmenter' else 2e-3
    assert metrics[0] == pytest.approx(metrics[1], abs=tolerance)
    if kind == 'detector':
        assert metrics[0]['coco/segm_mAP'] > 0.9
        assert metrics[0]['coco/bbox_mAP'] > 0.9


@pytest.mark.parametrize('kind', KINDS)
def test_drawing(kind, models, use_session, tmp_path, shapes_root, monkeypatch):
    """The pictures have the classes that the file names."""
    cfg, _, session = models[kind]
    use_session(session)
    drawers = []
    draw = infer.PredictionDrawer.draw
    monkeypatch.setattr(
        infer.PredictionDrawer,
        'draw',
        lambda self, *args: drawers.append(self) or draw(self, *args),
    )
    picture = shapes_root / 'coco' / 'val2017' / '000000000001.jpg'
    ours = Config(cfg.to_dict())
    infer.infer(ours, 'any.onnx', [str(picture)], str(tmp_path))
    assert (tmp_path / 'vis' / picture.name).is_file()
    meta = drawers[0].visualizer.dataset_meta
    assert list(meta['classes']) == session.metadata['classes']
    if kind != 'classifier':
        assert [tuple(c) for c in meta['palette']] == [
            tuple(c) for c in session.metadata['palette']
        ]


def test_a_file_of_classes_in_another_order(models, use_session, tmp_path):
    cfg, _, session = models['segmenter']
    use_session(session)
    ours = Config(cfg.to_dict())
    ours.work_dir = str(tmp_path)
    metainfo = ours.test_dataloader.dataset.metainfo
    metainfo.classes = metainfo.classes[::-1]
    ours.experiment_name = 'reversed'
    with pytest.raises(UserError, match='any.onnx was trained with background as cl'):
        build_test_runner(ours, 'any.onnx').test()


def test_tools_run_files_in_a_process_of_their_own(models, use_session):
    """Where the file was not run on this machine before, it may end the process."""
    cfg, _, session = models['segmenter']
    opened = use_session(session)
    cfg = Config(cfg.to_dict())
    adapters.use_exported(cfg, 'any.onnx')
    MODELS.build(cfg.model)
    ExportedModel('any.onnx')
    assert opened == ['IsolatedSession', 'open_session']


def test_what_makes_no_sense_for_a_file(models, use_session, tmp_path):
    cfg, _, session = models['segmenter']

    def fresh(**changes):
        return Config({**cfg.to_dict(), **changes})

    tta = dict(type='SegTTAModel', module=cfg.model)
    with pytest.raises(UserError, match='--tta merges .* any.onnx is an exported file'):
        adapters.use_exported(fresh(model=tta, tta_model=tta), 'any.onnx')
    with pytest.raises(UserError, match='--launcher pytorch: any.onnx is an exported'):
        adapters.use_exported(fresh(launcher='pytorch'), 'any.onnx')
    with pytest.raises(UserError, match='--device cuda: any.onnx is an exported file'):
        infer._load_exported(fresh(), 'any.onnx', 'cuda')

    def build(settings, metadata):
        use_session(GraphSession(session.graph, metadata))
        ours = fresh(**settings)
        adapters.use_exported(ours, 'any.onnx')
        return MODELS.build(ours.model)

    with pytest.raises(UserError, match='any.onnx holds the backbone of'):
        build({}, {**session.metadata, 'kind': 'backbone'})
    other = {**cfg.model.to_dict(), 'test_cfg': dict(mode='slide')}
    with pytest.raises(UserError, match='any.onnx'):
        build(dict(model=other), session.metadata)
    with pytest.raises(NotImplementedError, match='it has no loss'):
        build({}, session.metadata)([], [], mode='loss')


def test_settings_are_read_off_the_model(models):
    _, model, session = models['detector']
    assert runner.read_settings(model, session.graph) == {'mask_threshold': 0.5}
    _, model, session = models['segmenter']
    assert runner.read_settings(model, session.graph) == {
        'align_corners': False,
        'threshold': None,
    }
    assert runner.read_settings(model, build_graph(model, 'backbone')) == {}


@pytest.mark.parametrize('kind', KINDS)
def test_images_of_one_size_are_run_at_once(kind, models, use_session):
    """Where the file takes as many; the results are those of each alone."""
    _, _, session = models[kind]
    batches = []

    class Counting(GraphSession):
        def __call__(self, image):
            batches.append(image.shape)
            return super().__call__(image)

    use_session(Counting(session.graph, session.metadata))
    file = ExportedModel('any.onnx')
    sizes = [(64, 96), (96, 64), (64, 96)]
    images = [make_image(*size, seed) for seed, size in enumerate(sizes)]
    wanted = [None, (50, 70), (32, 48)]
    found = file.predict_all(images, wanted, [None] * 3)
    if kind == 'detector':
        assert batches == [(1, 3, *size) for size in sizes]
    else:
        assert batches == [(2, 3, 64, 96), (1, 3, 96, 64)]
    for image, size, results in zip(images, wanted, found):
        alone = file.predict(image, size)
        assert list(results) == list(alone)
        for name, array in results.items():
            assert array.shape == alone[name].shape
            if kind == 'segmenter':
                assert (array != alone[name]).mean() < 1e-3
            else:
                np.testing.assert_allclose(array, alone[name], rtol=1e-4, atol=1e-5)
    assert file.predict_all([], [], []) == []
    with pytest.raises(UserError, match='images of 64x96 and 96x64 were given to any'):
        file(*images)
