"""The exported encoder and decoder of a model that segments anything.

The files run in processes of their own, as always.
"""

import cv2
import numpy as np
import pytest
import torch
from helpers import tiny_models, tiny_sam
from mmengine.config import Config
from mmengine.registry import MODELS

from mmrapidnet.apis import AutomaticMaskGenerator, SegmentAnythingPredictor
from mmrapidnet.config.load import load_config
from mmrapidnet.deploy import sam_files
from mmrapidnet.deploy.export import export
from mmrapidnet.deploy.formats import load_format, onnx_model
from mmrapidnet.deploy.sam_graphs import build_sam_graph
from mmrapidnet.utils.errors import UserError

SIZE = tiny_sam.IMAGE_SIZE
HEIGHT, WIDTH = 90, 160
POINT = dict(point_coords=[[60, 70]], point_labels=[1])
POINTS = dict(point_coords=[[60, 70], [150, 30], [20, 20]], point_labels=[1, 0, 1])
BOX = dict(box=[20, 30, 120, 80])
MASK = dict(mask_input=np.random.default_rng(0).normal(0, 4, (1, SIZE // 4, SIZE // 4)))
PROMPTS = {
    'point': POINT,
    'points': {**POINTS, 'multimask_output': False},
    'box': BOX,
    'box and point': {**POINT, **BOX},
    'mask and point': {**POINT, **MASK},
    'mask': MASK,
}


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A folder with a config, its checkpoint and images, and their paths."""
    folder = tmp_path_factory.mktemp('sam')
    for number in range(3):
        image = tiny_sam.draw_image(HEIGHT, WIDTH, seed=number)
        cv2.imwrite(str(folder / f'{number}.png'), image)
    config, checkpoint = tiny_sam.write(folder)
    return folder, config, str(checkpoint)


@pytest.fixture(scope='module')
def write(made):
    """Exports a part, whose graph becomes ONNX only once."""
    folder, config, checkpoint = made
    converted, convert = {}, onnx_model.convert

    def convert_once(graph, image):
        if graph.kind not in converted:
            converted[graph.kind] = convert(graph, image)
        return converted[graph.kind]

    def write(part, fmt='onnx', precision='fp32', **options):
        out = folder / f'{part}_{precision}{load_format(fmt).SUFFIX}'
        if not out.exists():
            cfg = load_config(str(config))
            options = dict(image=str(folder / '0.png'), **options)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(onnx_model, 'convert', convert_once)
                export(cfg, checkpoint, fmt, out, part, precision, **options)
        return out

    return write


@pytest.fixture(scope='module')
def predictors(made, write):
    """PyTorch's and that of the exported files."""
    _, config, checkpoint = made
    pair = dict(encoder=write('encoder'), decoder=write('decoder'))
    return (
        SegmentAnythingPredictor(config, checkpoint, device='cpu'),
        SegmentAnythingPredictor(**pair, threads=1),
    )


@pytest.fixture
def ready(predictors):
    for predictor in predictors:
        predictor.set_image(tiny_sam.draw_image(HEIGHT, WIDTH))
    return predictors


def overlap(expected, found):
    """The least IoU of masks, given as logits (..., H, W), around their middle."""
    level = np.median(expected, (-2, -1), keepdims=True)
    one, other = expected > level, found > level
    return ((one & other).sum((-2, -1)) / (one | other).sum((-2, -1))).min()


def test_the_embedding_is_pytorchs(ready):
    expected, found = (predictor.get_image_embedding() for predictor in ready)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name', PROMPTS)
def test_masks_are_pytorchs(ready, name):
    prompts = dict(PROMPTS[name], return_logits=True)
    expected, found = (predictor.predict(**prompts) for predictor in ready)
    assert overlap(expected[0], found[0]) >= 0.99
    np.testing.assert_allclose(found[1], expected[1], atol=1e-3)
    np.testing.assert_allclose(found[2], expected[2], atol=1e-2)


def test_many_prompts_in_one_call(ready, monkeypatch):
    """In calls of several; masks are given one by one."""
    monkeypatch.setattr(sam_files, 'CHUNK', 2)
    boxes = np.array([[20, 30, 120, 80], [0, 0, 60, 60], [80, 10, 150, 85]])
    masks = np.random.default_rng(1).normal(0, 4, (3, 1, SIZE // 4, SIZE // 4))
    for prompts in (dict(boxes=boxes), dict(boxes=boxes, mask_input=masks)):
        prompts['return_logits'] = True
        expected, found = (p.predict_batch(**prompts) for p in ready)
        assert found[0].shape == (3, 3, HEIGHT, WIDTH)
        assert overlap(expected[0], found[0]) >= 0.99
        np.testing.assert_allclose(found[2], expected[2], atol=1e-2)


def test_automatic_masks_are_pytorchs(predictors):
    image = tiny_sam.draw_image(HEIGHT, WIDTH)
    # What suits masks of random weights.
    settings = dict(
        points_per_side=6,
        pred_iou_thresh=0.0,
        stability_score_thresh=0.3,
        stability_score_offset=0.2,
        box_nms_thresh=0.9,
    )
    expected, found = (
        AutomaticMaskGenerator(predictor, **settings).generate(image)
        for predictor in predictors
    )
    assert len(found) == len(expected) > 0
    for one, other in zip(expected, found):
        assert one['point_coords'] == other['point_coords']
        assert one['area'] == pytest.approx(other['area'], rel=0.01)
        assert one['bbox'] == pytest.approx(other['bbox'], abs=1)


@pytest.mark.slow
def test_low_precision(made, write, ready):
    folder = made[0]
    int8 = dict(precision='int8', calibration_folder=str(folder), calibration_images=3)
    low = SegmentAnythingPredictor(
        encoder=write('encoder', 'openvino', **int8),
        decoder=write('decoder', 'openvino', 'bf16'),
        threads=1,
    )
    low.set_image(tiny_sam.draw_image(HEIGHT, WIDTH))
    expected, found = (p.predict(**POINTS, **BOX)[2] for p in (ready[0], low))
    difference = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert 1e-5 < difference < 0.2


def test_what_the_files_say(write):
    encoder, decoder = (
        sam_files.IsolatedSession(write(part), threads=1).metadata
        for part in ('encoder', 'decoder')
    )
    assert encoder['input']['size'] == [SIZE, SIZE]
    assert encoder['input']['channel_order'] == 'rgb'
    assert encoder['fused']
    pad_value = encoder['settings']['pad_value']
    assert pad_value == pytest.approx([123.675, 116.28, 103.53])
    assert encoder['settings']['embedding'] == [256, 8, 8]
    assert decoder['input']['channels'] == 256
    assert decoder['input']['size'] == [8, 8]
    assert decoder['prompts']['points'] == ['prompts', 'points', 2]
    # Neither holds the other's weights.
    sizes = {part: write(part).stat().st_size for part in ('encoder', 'decoder')}
    assert sizes['encoder'] < 3e6 < 16e6 < sizes['decoder'] < 18e6


@pytest.mark.parametrize(
    'settings',
    [
        dict(bgr_to_rgb=True),
        dict(pad_size_divisor=32),
        dict(pad_value=1, std=[2.0] * 3),
    ],
)
@torch.no_grad()
def test_images_are_seen_as_in_training(settings):
    """Whatever training turns its images round with, here they are RGB."""
    preprocessor = dict(
        type='ImgDataPreprocessor',
        **dict(mean=[123.0, 116.0, 103.0], std=[58.0, 57.0, 57.0]) | settings,
    )
    model = MODELS.build(dict(tiny_sam.MODEL, data_preprocessor=preprocessor)).eval()
    image = torch.from_numpy(tiny_sam.draw_image(96, SIZE)).permute(2, 0, 1)
    batch = [image.flip(0) if 'bgr_to_rgb' in settings else image]
    inputs = model.data_preprocessor(dict(inputs=batch))['inputs']
    pad_value = settings.get('pad_value', 0)
    inputs = torch.nn.functional.pad(
        inputs, (0, 0, 0, SIZE - inputs.shape[2]), value=pad_value
    )
    expected = model.extract_feat(inputs)

    pixels = image.permute(1, 2, 0).numpy()
    decoder, _ = model.encode_image(pixels)
    torch.testing.assert_close(decoder.embedding, expected)
    graph = build_sam_graph(model, 'encoder')
    padded = sam_files.pad_image(pixels, SIZE, graph.module.pad_value)
    (found,) = graph.module(torch.from_numpy(padded).permute(2, 0, 1)[None])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('part', ['encoder', 'decoder'])
def test_coreml(write, part):
    path = write(part, 'coreml')
    import coremltools

    spec = coremltools.utils.load_spec(str(path))
    inputs = {given.name: given.type for given in spec.description.input}
    if part == 'encoder':
        assert inputs['image'].imageType.colorSpace == 20  # RGB
        assert inputs['image'].imageType.width == SIZE
    else:
        points = inputs['points'].multiArrayType.shapeRange.sizeRanges
        assert [(size.lowerBound, size.upperBound) for size in points] == [
            (1, 256),
            (1, 256),
            (2, 2),
        ]
        names = ['embedding', 'points', 'labels', 'mask_input', 'has_mask']
        assert list(inputs) == names


# ------------------------------------------------------------------ refusals


def predict_with(**files):
    return SegmentAnythingPredictor(**files, threads=1)


def test_files_of_another_kind(write, tmp_path):
    encoder, decoder = write('encoder'), write('decoder')
    with pytest.raises(
        UserError, match=r'decoder_fp32.onnx holds the decoder of tiny_sam.py: as enc'
    ):
        predict_with(encoder=decoder, decoder=encoder)
    with pytest.raises(UserError, match='encoder_fp32.onnx holds the encoder .* as d'):
        predict_with(encoder=encoder, decoder=encoder)
    missing = tmp_path / 'nowhere.xml'
    with pytest.raises(UserError, match='there is no file .*nowhere.xml'):
        predict_with(encoder=encoder, decoder=missing)


class Said:
    """A session of which only what it says is of matter."""

    def __init__(self, **metadata):
        self.metadata = metadata


@pytest.mark.parametrize(
    ('encoder', 'message'),
    [
        (dict(kind='detector', config='x.py'), 'e.onnx holds the detector of x.py: as'),
        (
            dict(settings=dict(embedding=[128, 8, 8], pad_value=[0, 0, 0])),
            'e.onnx gives embeddings of 128x8x8, but d.onnx takes them of 256x8x8',
        ),
        (dict(settings={}), 'e.onnx or d.onnx does not say what it takes: export'),
    ],
)
def test_pairs_that_do_not_fit(encoder, message, monkeypatch):
    encoder = Said(**{'kind': 'encoder', 'input': dict(size=[128, 128]), **encoder})
    decoder = Said(kind='decoder', input=dict(channels=256, size=[8, 8]))
    found = {'e.onnx': encoder, 'd.onnx': decoder}
    monkeypatch.setattr(
        sam_files, 'IsolatedSession', lambda path, threads: found[path.name]
    )
    with pytest.raises(UserError, match=message):
        predict_with(encoder='e.onnx', decoder='d.onnx')


@pytest.mark.parametrize(
    'given',
    [
        dict(),
        dict(encoder='e.onnx'),
        dict(config='c.py', checkpoint='c.pth', encoder='e.onnx', decoder='d.onnx'),
        dict(config='c.py', decoder='d.onnx'),
    ],
)
def test_either_of_two_ways(given):
    with pytest.raises(UserError, match='give either a config and a checkpoint, or an'):
        SegmentAnythingPredictor(**given)


def test_files_on_another_device():
    pair = dict(encoder='e.onnx', decoder='d.onnx')
    with pytest.raises(UserError, match='--device cuda: exported files run on the CPU'):
        SegmentAnythingPredictor(**pair, device='cuda')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(part='whole'), 'becomes two files: give --part encoder for one and'),
        (
            dict(size=(64, 64)),
            '--size: the encoder of a SegmentAnything has the im',
        ),
        (dict(image=None), 'give an image to compare the file and PyTorch on'),
        (dict(fmt='ncnn'), 'ncnn cannot hold an encoder, only a backbone'),
        (
            dict(fmt='openvino', part='decoder', precision='int8'),
            'openvino holds no decoder in int8',
        ),
        (
            dict(fmt='openvino', precision='int8'),
            'int8 needs images to calibrate on, of the config.* --calibration-folder',
        ),
    ],
)
def test_requests_that_make_no_sense(made, tmp_path, arguments, message):
    folder, config, checkpoint = made
    arguments = {
        **dict(fmt='onnx', part='encoder', image=str(folder / '0.png')),
        **arguments,
    }
    fmt = arguments.pop('fmt')
    out = tmp_path / f'file{load_format(fmt).SUFFIX}'
    with pytest.raises(UserError, match=message):
        export(load_config(str(config)), checkpoint, fmt, out, **arguments)
    assert not list(tmp_path.iterdir())


def test_other_models_have_no_such_parts(made, tmp_path):
    cfg = tiny_models.load('segmenter', tmp_path, tmp_path)
    with pytest.raises(UserError, match='is the config of a EncoderDecoder: give one'):
        export(cfg, made[2], 'onnx', tmp_path / 'e.onnx', part='encoder')
    with pytest.raises(UserError, match='part=decoder is of SegmentAnything; Linear'):
        build_sam_graph(torch.nn.Linear(1, 1), 'decoder')
    with pytest.raises(UserError, match='in training mode: call its eval'):
        build_sam_graph(MODELS.build(Config(tiny_sam.MODEL)), 'decoder')
