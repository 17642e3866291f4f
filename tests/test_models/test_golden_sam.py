"""RepViT-SAM equals its published implementation, through a file on disk."""

import hashlib

import pytest
import torch
from helpers import golden
from helpers.commands import REPO
from helpers.golden import largest_difference
from mmengine.config import Config
from mmengine.registry import MODELS

from mmrapidnet.apis import SegmentAnythingPredictor
from mmrapidnet.checkpoints.convert.convert import convert_checkpoint
from mmrapidnet.checkpoints.convert.detect import find_kind
from mmrapidnet.checkpoints.state_dict import read_checkpoint
from mmrapidnet.utils.errors import UserError

CONFIG = REPO / 'configs' / 'sam_repvit_m2_3.py'
SIZE = (640, 1024)
PROMPTS = golden.sam_prompts(*SIZE)
# SHA-256 of the published state dict's names and shapes, a line each, sorted.
LISTING = 'ebe4ef724afda485e2c1f4402f152ddec45f119a012a514c63883d4e22a974c2'
SOME = (
    'image_encoder.features.1.token_mixer.0.conv.c.weight',
    'mask_decoder.iou_token.weight',
)


def build(device='cpu'):
    with torch.device(device):
        return MODELS.build(Config.fromfile(CONFIG).model).eval()


@pytest.fixture(scope='module')
def names():
    """Our names to the published ones, and the shapes."""
    state = build('meta').state_dict()
    published = find_kind(SOME).published_keys(state)
    return {
        ours: (theirs, tuple(state[ours].shape)) for ours, theirs in published.items()
    }


@pytest.fixture(scope='module')
def converted(names, tmp_path_factory):
    """What the converter made of a file in the published names, and what it did."""
    folder = tmp_path_factory.mktemp('sam')
    state = {
        theirs: golden.parameter(theirs, shape) for theirs, shape in names.values()
    }
    torch.save(state, folder / 'repvit_sam.pt')
    done = convert_checkpoint(
        folder / 'repvit_sam.pt', folder / 'ours.pth', configs=CONFIG.parent
    )
    (folder / 'repvit_sam.pt').unlink()
    yield folder / 'ours.pth', done
    (folder / 'ours.pth').unlink()


def test_names_and_shapes_are_the_published_ones(names):
    listing = sorted((theirs, list(shape)) for theirs, shape in names.values())
    text = ''.join(f'{name} {shape}\n' for name, shape in listing)
    assert hashlib.sha256(text.encode()).hexdigest() == LISTING


def test_every_tensor_is_accounted_for(converted, names):
    path, done = converted
    assert str(done).splitlines() == [
        'repvit_sam.pt is a Segment Anything checkpoint with RepViT; weights taken '
        'from the file itself',
        'model: repvit_m2_3',
        f'matched {len(names)} of {len(names)} tensors; dropped 0 other entries of the '
        'file',
    ]
    state = read_checkpoint(str(path))['state_dict']
    assert set(state) == set(names)
    for ours in ('neck.lateral_convs.0.weight', 'mask_decoder.iou_token.weight'):
        theirs, shape = names[ours]
        assert torch.equal(state[ours], golden.parameter(theirs, shape))


@torch.no_grad()
def test_encoder_in_float64(names):
    """The encoder's own file of parameters has other names, and so other values."""
    model = build().double()
    parts = ('backbone.', 'neck.')
    state = {
        ours: golden.parameter(theirs.removeprefix('image_encoder.'), shape)
        for ours, (theirs, shape) in names.items()
        if ours.startswith(parts)
    }
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert not [name for name in missing if name.startswith(parts)]
    embedding = model.neck(model.backbone(golden.image(128, 128)))
    expected = golden.expected('repvit_sam_encoder')['128x128_embedding']
    assert largest_difference(embedding, expected) < 1e-6


@pytest.fixture(scope='module')
def predictor(converted):
    predictor = SegmentAnythingPredictor(CONFIG, converted[0], device='cpu')
    predictor.set_image(golden.sam_image(*SIZE)[0])
    return predictor


@pytest.fixture(scope='module')
def expected():
    return golden.expected('repvit_sam_640x1024')


def test_embedding_of_an_image(predictor, expected):
    ours = predictor.get_image_embedding()[0, ::8, ::4, ::4]
    assert largest_difference(ours, expected['embedding']) < 1e-4


@pytest.mark.parametrize('name', PROMPTS)
def test_prompts(name, predictor, expected):
    prompts = dict(PROMPTS[name])
    if name == 'mask_point':
        prompts['mask_input'] = golden.sam_image(*SIZE)[1]
    masks, ious, logits = predictor.predict(**prompts)
    theirs = expected[f'{name}_logits']
    assert masks.shape == (len(theirs), *SIZE)
    ours = torch.from_numpy(logits[:, ::8, ::8])
    assert largest_difference(ours, theirs) < 1e-4
    assert largest_difference(torch.from_numpy(ious), expected[f'{name}_iou']) < 1e-4
    areas = torch.from_numpy(masks.sum((1, 2)))
    assert ((areas / expected[f'{name}_mask_area'] - 1).abs() < 1e-4).all()


@pytest.mark.slow
@torch.no_grad()
def test_whole_encoder_in_float64(converted, expected):
    model = build().double()
    model.load_state_dict(read_checkpoint(str(converted[0]))['state_dict'])
    model.data_preprocessor.double()
    image = torch.from_numpy(golden.sam_image(*SIZE)[0]).permute(2, 0, 1)
    inputs = model.data_preprocessor(dict(inputs=[image]))['inputs']
    ours = model(inputs)[0, ::8, ::4, ::4]
    assert largest_difference(ours, expected['embedding']) < 1e-6


def test_published_file_that_awaits_conversion(tmp_path):
    torch.save(dict.fromkeys(SOME, torch.zeros(1)), tmp_path / 'repvit_sam.pt')
    with pytest.raises(UserError, match='still in its published names: convert it'):
        SegmentAnythingPredictor(CONFIG, tmp_path / 'repvit_sam.pt', device='cpu')


def test_a_file_with_a_tensor_too_many(names, tmp_path):
    state = {theirs: torch.zeros(()).expand(shape) for theirs, shape in names.values()}
    state['image_encoder.neck.4.weight'] = torch.zeros(1)
    torch.save(state, tmp_path / 'repvit_sam.pt')
    with pytest.raises(UserError, match=r'not accounted for 1: image_encoder.neck.4'):
        convert_checkpoint(
            tmp_path / 'repvit_sam.pt', tmp_path / 'ours.pth', configs=CONFIG.parent
        )
