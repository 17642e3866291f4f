"""Exporting: what it refuses, what it compares, what it leaves behind.

Here the written file runs as its graph in PyTorch, true or distorted; the formats
themselves are the matter of `test_formats/`, the command line of
`test_export_tool.py`.
"""

import cv2
import numpy as np
import pytest
import torch
from helpers.tiny_models import GraphSession, load, write_checkpoint, write_imagenet
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmrapidnet.deploy import export as exporting
from mmrapidnet.deploy import formats, verify
from mmrapidnet.deploy.export import export
from mmrapidnet.deploy.graphs import Graph
from mmrapidnet.deploy.preprocess import (
    CalibrationImages,
    build_reader,
    find_calibration_images,
    first_test_image,
)
from mmrapidnet.utils.errors import UserError


class FakeFormat:
    """Writes a line of text, and runs the graph instead of it."""

    NAME, SUFFIX = 'fake', '.onnx'
    PRECISIONS = dict.fromkeys(formats.KINDS, ('fp32', 'fp16', 'bf16', 'int8'))
    RUNNABLE = True

    def __init__(self):
        self.distort = lambda image: image
        self.dynamic = True
        self.written = None

    def is_dynamic(self, graph):
        return self.dynamic and graph.dynamic

    def write(self, graph, example, path, metadata, calibration=None):
        path.write_text('exported')
        calibrated = calibration and [image.shape for image in calibration]
        self.written = dict(
            graph=graph, example=example, metadata=metadata, calibrated=calibrated
        )

    def read_metadata(self, path):
        assert path.read_text() == 'exported'
        return self.written['metadata']

    def open(self, path, **options):
        written = self.written
        return GraphSession(written['graph'], written['metadata'], self.distort)


@pytest.fixture
def fake(monkeypatch):
    fake = FakeFormat()
    monkeypatch.setattr(exporting, 'load_format', lambda name: fake)
    # Not `open_session`: nobody has run the file yet.
    monkeypatch.setattr(exporting, 'IsolatedSession', fake.open)
    return fake


@pytest.fixture(scope='module')
def made(shapes_root, tmp_path_factory):
    """Of each kind a config and the path of a checkpoint."""
    folder = tmp_path_factory.mktemp('models')
    roots = {
        'segmenter': shapes_root / 'ade',
        'detector': shapes_root / 'coco',
        'classifier': write_imagenet(tmp_path_factory.mktemp('data') / 'imagenet'),
    }
    made = {}
    for kind, root in roots.items():
        cfg = load(kind, folder, root)
        made[kind] = cfg, str(write_checkpoint(cfg, folder / f'{kind}.pth'))
    return made


@pytest.fixture
def run(made, fake, tmp_path):
    """Export one of the models."""

    def run(kind, *, options=None, name='model.onnx', **arguments):
        cfg, checkpoint = made[kind]
        cfg = Config(cfg.to_dict())
        cfg.merge_from_dict(options or {})
        return export(cfg, checkpoint, 'onnx', tmp_path / name, **arguments)

    return run


@pytest.mark.parametrize(
    ('kind', 'part', 'outputs'),
    [
        ('segmenter', 'whole', ['logits']),
        ('segmenter', 'backbone', [f'feature{i}' for i in range(4)]),
        ('classifier', 'whole', ['logits']),
        ('detector', 'whole', ['boxes', 'scores', 'masks', 'detections (12 of 12 m']),
        ('detector', 'dense', ['p2', 'p3', 'p4', 'p5', 'p6', 'rpn_cls0', 'rpn_cls1']),
    ],
)
def test_a_true_file(kind, part, outputs, run, fake, made, tmp_path, capsys):
    report = run(kind, part=part)
    assert report.path.read_text() == 'exported'
    assert [path.name for path in tmp_path.iterdir()] == ['model.onnx']
    compared = [d.output[:22] for d in report.differences]
    assert compared[: len(outputs)] == outputs
    assert all(d.relative == 0 for d in report.differences)
    printed = capsys.readouterr().out
    assert 'model.onnx against PyTorch' in printed
    assert all(name in printed for name in outputs)
    assert report.metadata == fake.written['metadata']
    assert report.metadata['input']['size'] is None
    assert report.metadata['checkpoint']['name'] == f'{kind}.pth'


def test_the_classifier_is_normalised_as_its_config_says(run, fake, made):
    """`data_preprocessor` stands beside `model` in mmpretrain's configs."""
    run('classifier')
    mean = fake.written['graph'].module.preprocessing.mean.flatten().tolist()
    assert mean == pytest.approx([123.675, 116.28, 103.53])


def test_what_predictions_need_is_in_the_metadata(run):
    segmenter = run('segmenter').metadata['settings']
    assert segmenter == {'align_corners': False, 'threshold': None}
    assert run('detector').metadata['settings'] == {'mask_threshold': 0.5}
    assert run('classifier').metadata['settings'] == {}


@pytest.mark.parametrize(
    ('kind', 'part', 'output'),
    [
        ('segmenter', 'whole', 'logits'),
        ('segmenter', 'backbone', 'feature0'),
        ('classifier', 'whole', 'logits'),
        ('detector', 'whole', 'detections'),
    ],
)
def test_exchanged_colours_are_never_tolerated(
    kind, part, output, run, fake, tmp_path, capsys
):
    """Not even in 8 bits."""
    fake.distort = lambda image: image.flip(1)
    old = tmp_path / 'model.onnx'
    old.write_text('before')
    with pytest.raises(UserError, match=f'was not written: its {output}') as error:
        run(kind, part=part, precision='int8', calibration_images=2)
    assert 'is tolerated' in str(error.value)
    assert '\n' not in str(error.value)
    assert output in capsys.readouterr().out
    assert old.read_text() == 'before'
    assert [path.name for path in tmp_path.iterdir()] == ['model.onnx']


@pytest.mark.parametrize('failure', [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_of_a_failure(failure, run, fake, tmp_path):
    def fail(graph, example, path, *args, **kwargs):
        path.write_text('half')
        raise failure

    fake.write = fail
    with pytest.raises(failure):
        run('segmenter')
    assert not list(tmp_path.iterdir())


def test_sizes(run, fake, shapes_root):
    """Any, that of the pipeline's image where it must be fixed, or the one given."""
    fake.dynamic = False
    report = run('segmenter')
    assert report.metadata['input']['size'] == [192, 192]
    fake.dynamic = True
    report = run('segmenter', size=(64, 96))
    assert report.metadata['input']['size'] == [64, 96]
    assert fake.written['example'].shape == (1, 3, 64, 96)
    fake.dynamic = False
    assert run('classifier').metadata['input']['size'] == [224, 224]


def test_a_format_that_is_not_run_here(run, fake, capsys):
    fake.RUNNABLE = False
    report = run('segmenter')
    assert report.differences is None
    assert report.path.exists()
    assert 'model.onnx was not run here' in capsys.readouterr().out


def test_calibration(run, fake, capsys):
    run('segmenter', precision='int8', calibration_images=5)
    assert fake.written['calibrated'] == [(1, 3, 192, 192)] * 5
    assert 'calibrating on' not in capsys.readouterr().out
    run('segmenter', precision='int8', size=(64, 96))
    assert fake.written['calibrated'] == [(1, 3, 64, 96)] * 12
    assert 'calibrating on 12 images instead of 300: the' in capsys.readouterr().out
    # ImageNet's config has a test set only.
    run('classifier', precision='int8', calibration_images=3)
    assert fake.written['calibrated'] == [(1, 3, 224, 224)] * 3


def test_calibration_images(made):
    cfg, _ = made['segmenter']
    init_default_scope('mmseg')
    images = CalibrationImages(find_calibration_images(cfg), build_reader(cfg), 4)
    assert [path[-20:] for path in images.paths] == [
        f'training/{number:012}.jpg'[-20:] for number in (1, 4, 8, 12)
    ]
    assert all('training' in path for path in images.paths)
    first, again = next(iter(images)), next(iter(images))
    assert first.dtype == np.float32
    assert first.max() > 100
    np.testing.assert_array_equal(first, again)
    missing = Config(cfg.to_dict())
    for name in ('train', 'test'):
        missing[f'{name}_dataloader'].dataset.data_root = 'nowhere'
    with pytest.raises(UserError, match='int8 needs images to calibrate on, .* nowhe'):
        find_calibration_images(missing)
    with pytest.raises(UserError, match='--calibration-images 0: at least one'):
        CalibrationImages(images.paths, build_reader(cfg), 0)


def test_calibration_folder(run, fake, shapes_root, tmp_path):
    folder = shapes_root / 'ade' / 'images' / 'validation'
    arguments = dict(precision='int8', calibration_folder=str(folder))
    run('segmenter', calibration_images=2, **arguments)
    assert fake.written['calibrated'] == [(1, 3, 192, 192)] * 2
    (tmp_path / 'empty').mkdir()
    arguments['calibration_folder'] = str(tmp_path / 'empty')
    with pytest.raises(UserError, match='empty: there is no image in it'):
        run('segmenter', **arguments)
    with pytest.raises(UserError, match='--calibration-folder is for --precision int8'):
        run('segmenter', calibration_folder=str(folder))


def test_images_are_read_as_in_testing(made, shapes_root):
    cfg, _ = made['segmenter']
    init_default_scope('mmseg')
    path = first_test_image(cfg)
    assert path.endswith('validation/000000000001.jpg')
    image = build_reader(cfg)(path)
    assert image.dtype == np.uint8
    assert image.shape == (192, 192, 3)
    assert build_reader(cfg, (64, 96))(path).shape == (64, 96, 3)
    with pytest.raises(UserError, match='there is no image nowhere.jpg'):
        build_reader(cfg)('nowhere.jpg')
    with pytest.raises(UserError, match='shapes.json is not an image'):
        build_reader(cfg)(str(shapes_root / 'shapes.json'))


@pytest.mark.parametrize(
    ('kind', 'arguments', 'message'),
    [
        ('segmenter', dict(name='model.xml'), 'model.xml: a file for fake is called'),
        (
            'segmenter',
            dict(calibration_images=9),
            '--calibration-images is for --',
        ),
        ('segmenter', dict(size=(0, 64)), '--size 0 64: an image has at least 32'),
        ('segmenter', dict(image='nowhere.jpg'), 'there is no image nowhere.jpg'),
        ('segmenter', dict(part='dense'), 'part=dense is what precedes the proposals'),
        (
            'segmenter',
            dict(options={'model.test_cfg.mode': 'slide'}),
            'model.test_cfg.mode is slide: an exported file sees the whole image',
        ),
        (
            'segmenter',
            dict(options={'test_dataloader.dataset.data_root': 'nowhere'}),
            'give an image to compare the file and PyTorch on, with --image FILE; the',
        ),
        (
            'segmenter',
            dict(options={'model.neck.out_channels': 32}),
            'segmenter.pth does not fit EncoderDecoder; other shapes',
        ),
        (
            'detector',
            dict(options={'model.test_cfg.rcnn.score_thr': 1.0}),
            'the model finds nothing in the image, so there is nothing to compare',
        ),
    ],
)
def test_requests_that_make_no_sense(kind, arguments, message, run, tmp_path):
    with pytest.raises(UserError) as error:
        run(kind, **arguments)
    assert message in str(error.value)
    assert '\n' not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_truncated_image(run, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    content = cv2.imencode('.png', noise)[1].tobytes()
    image = tmp_path / 'cut.png'
    image.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match='cut.png is not an image .*: it is truncated'):
        run('segmenter', image=str(image))
    assert list(tmp_path.iterdir()) == [image]


def test_an_image_that_would_lose_its_depth(run, tmp_path):
    values = np.random.default_rng(0).integers(1008, 2289, (60, 80), np.uint16)
    image = tmp_path / 'scan.tiff'
    image.write_bytes(cv2.imencode('.tiff', values)[1].tobytes())
    fault = 'scan.tiff: its values 1008 to 2288 are read as 3 to 8; keep them by'
    with pytest.raises(UserError, match=fault):
        run('segmenter', image=str(image))


def test_an_older_torch_is_told_before_anything_is_read(monkeypatch):
    monkeypatch.setattr(torch, '__version__', '2.5.1')
    with pytest.raises(
        UserError, match='needs torch >= 2.6, and this is 2.5.1: export'
    ):
        export(Config(), 'nowhere.pth', 'onnx', 'model.onnx')


def test_what_a_format_cannot_hold(run, fake):
    fake.PRECISIONS = {'dense': ('fp32',)}
    with pytest.raises(UserError, match='fake cannot hold a detector, only a dense'):
        run('detector')
    with pytest.raises(UserError, match='fake holds no dense in bf16'):
        run('detector', part='dense', precision='bf16')


def make_detections(count=4):
    corners = np.arange(count)[:, None] * 20.0
    return dict(
        boxes=np.concatenate([corners, corners, corners + 10, corners + 10], axis=1),
        scores=np.linspace(0.9, 0.3, count),
        labels=np.arange(count),
        masks=np.full((count, 28, 28), 0.8),
    )


def compare(found, tolerance=0.1):
    return verify.compare_detections(make_detections(), found, tolerance)


def test_detections_in_another_order_are_the_same():
    found = {name: value[::-1] for name, value in make_detections().items()}
    *differences, all_together = compare(found)
    assert [d.largest for d in differences] == [0, 0, 0]
    assert all_together.output == 'detections (4 of 4 matched)'
    assert all_together.relative == pytest.approx(0, abs=1e-12)


def test_disagreement_of_detections():
    """Numbers by hand; the squares of the scores 0.9 0.7 0.5 0.3 sum to 1.64."""
    found = make_detections()
    found['boxes'][:, 2:] += [1, 0]  # 10 of 11 columns are shared
    boxes, _, _, all_together = compare(found)
    assert boxes.largest == 1
    assert all_together.relative == pytest.approx(1 - 10 / 11)

    found = make_detections()
    found['masks'] = found['masks'] / 2
    assert compare(found)[-1].output == 'detections (4 of 4 matched)'
    assert compare(found)[-1].relative == pytest.approx(0.5)

    found = make_detections()
    found['labels'] = found['labels'].copy()
    found['labels'][0] = 7
    *_, all_together = compare(found)
    assert all_together.output == 'detections (3 of 4 matched, 1 more)'
    assert all_together.relative == pytest.approx(0.81 / 1.64)
    assert not all_together.is_tolerable

    nothing = {name: value[:0] for name, value in make_detections().items()}
    assert compare(nothing)[-1].relative == 1
    assert verify.compare_detections(nothing, nothing, 0.1)[-1].relative == 0


def test_detections_without_masks():
    def boxes_alone():
        found = make_detections()
        del found['masks']
        return found

    found = boxes_alone()
    found['boxes'][:, 2:] += [1, 0]
    boxes, scores, together = verify.compare_detections(boxes_alone(), found, 0.1)
    assert (boxes.output, scores.output) == ('boxes', 'scores')
    assert together.relative == pytest.approx(1 - 10 / 11)


def test_what_a_detector_gives_beside_its_detections():
    """Is compared like the outputs of other models."""
    detections = {name: torch.from_numpy(v) for name, v in make_detections().items()}
    values = {**detections, 'semantic': torch.ones(1, 2, 3, 3)}

    class Module(torch.nn.Module):
        def forward(self, image):
            return tuple(values.values())

    graph = Graph('detector', Module(), tuple(values))
    found = {name: value.numpy() for name, value in values.items()}
    found['semantic'] = found['semantic'] * 1.01
    image = (np.zeros((1, 3, 64, 64), np.float32),)
    *_, together, semantic = verify.compare(graph, lambda _: found, image)
    assert together.is_tolerable and not semantic.is_tolerable
    assert (semantic.output, semantic.tolerance) == ('semantic', 1e-4)
    assert semantic.relative == pytest.approx(0.01, rel=1e-3)


def test_outputs_that_are_no_numbers_or_of_another_shape():
    array = np.ones((2, 3))
    same = verify._compare_arrays('logits', array, array, 1e-4)
    assert (same.largest, same.relative, same.is_tolerable) == (0, 0, True)
    for other in (array * np.nan, np.ones((3, 3))):
        difference = verify._compare_arrays('logits', array, other, 1e-4)
        assert not difference.is_tolerable
    shifted = verify._compare_arrays('logits', array, array * 1.5, None)
    assert shifted.largest == 0.5
    assert shifted.relative == pytest.approx(0.5)
    assert shifted.is_tolerable
