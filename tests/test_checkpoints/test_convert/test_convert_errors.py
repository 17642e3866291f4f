"""What is not converted: every mistake ends in one line, with nothing written."""

import os

import pytest
import torch
from helpers.malicious_files import Pickled
from helpers.published import KEY_MAPS, SMALL, convert, thin_state
from mmengine.registry import MODELS

from mmrapidnet.checkpoints.convert.convert import convert_checkpoint
from mmrapidnet.checkpoints.convert.key_maps import DENSE_MODELS
from mmrapidnet.utils.errors import UserError

pytestmark = pytest.mark.usefixtures('thin_archs')


@pytest.fixture
def rapidnet():
    return dict(thin_state('rapidnet_ti'))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda s: s.pop('stem.stem.0.weight'),
            'does not fit any model; closest is rapidnet_ti: missing 1: stem.stem.0.we',
        ),
        (
            lambda s: s.update({'teacher.a': torch.zeros(1)}),
            'closest is rapidnet_ti: not accounted for 1: teacher.a$',
        ),
        (
            lambda s: s.update({'head.bias': torch.zeros(3)}),
            r'rapidnet_ti: other shapes 1: head.bias \(3,\) instead of \(1000,\)$',
        ),
        (
            lambda s: s.pop('prediction.1.weight'),
            r'cannot be converted: it has no classifier \(prediction.1.weight\)',
        ),
        (
            lambda s: s.update({'module.head.bias': torch.zeros(3)}),
            "names in state_dict differ in 'module.' alone",
        ),
        (
            lambda s: s.update({'head.extra': 3}),
            'head.extra in state_dict is no tensor, but of type int',
        ),
    ],
)
def test_what_is_not_accounted_for(change, message, rapidnet, tmp_path):
    change(rapidnet)
    with pytest.raises(UserError, match=message):
        convert({'state_dict': rapidnet}, tmp_path)
    assert not (tmp_path / 'ours.pth').exists()


def test_the_model_that_is_expected(rapidnet, tmp_path):
    content = {'state_dict': rapidnet}
    with pytest.raises(
        UserError, match=r'a RapidNet classification .*not fit rapidnet_s: missing \d+:'
    ):
        convert(content, tmp_path, model='rapidnet_s')
    with pytest.raises(
        UserError,
        match=r'--model repvit_m1_1: .*published.pth is a RapidNet class.*choose one '
        'of rapidnet_ti, rapidnet_s, rapidnet_m, rapidnet_b, or leave',
    ):
        convert(content, tmp_path, model='repvit_m1_1')
    with pytest.raises(UserError, match='unknown model rapidnet_xl: choose .*repvit_m'):
        convert(content, tmp_path, model='rapidnet_xl')


def test_a_moving_average_that_is_not_there(rapidnet, tmp_path):
    with pytest.raises(UserError, match=r'--ema: .* holds no moving average'):
        convert({'state_dict': rapidnet}, tmp_path, ema=True)
    with pytest.raises(UserError, match=r'--ema: .* holds no moving average'):
        convert(rapidnet, tmp_path, ema=True)
    with pytest.raises(UserError, match=r'--no-ema: .* alone \(state_dict_ema\)'):
        convert({'state_dict_ema': rapidnet}, tmp_path, ema=False)


def test_converting_twice(rapidnet, tmp_path):
    convert({'state_dict': rapidnet}, tmp_path, model='rapidnet_ti')
    published, ours = tmp_path / 'published.pth', tmp_path / 'ours.pth'
    before = ours.read_bytes()
    with pytest.raises(UserError, match='ours.pth was converted before, from publish'):
        convert_checkpoint(ours, tmp_path / 'twice.pth')
    assert ours.read_bytes() == before
    with pytest.raises(UserError, match='is the file that is read'):
        convert_checkpoint(published, published)


@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_our_own_names(prefix, tmp_path):
    state = MODELS.build(dict(type='RapidNet', arch='ti')).state_dict()
    state = {prefix + name: value for name, value in state.items()}
    with pytest.raises(UserError, match="in mmrapidnet's names already; nothing to c"):
        convert({'state_dict': state}, tmp_path)


@pytest.mark.parametrize(
    ('content', 'found'),
    [
        ({'state_dict': {'conv1.weight': torch.zeros(1)}}, 'conv1.weight'),
        ({'backbone.stem.stem.0.weight': torch.zeros(1)}, 'backbone.stem.stem.0'),
        ({'epoch': 3}, 'no weights'),
    ],
)
def test_something_else(content, found, tmp_path):
    with pytest.raises(
        UserError,
        match='is not a published checkpoint that can be converted: expected a '
        r"classifier \(MobileViG, RapidNet, RepViT, timm's RepViT\) or one of .* on "
        f'such a backbone, but found {found}',
    ) as error:
        convert(content, tmp_path)
    assert {'Mask R-CNN (mmdet 2.x)', 'Semantic FPN (mmseg 0.x)'} <= {
        model.title for model in DENSE_MODELS if model.title in str(error.value)
    }


def test_a_file_that_would_run_code(rapidnet, tmp_path):
    code = Pickled(open, (str(tmp_path / 'canary'), 'w'))
    content = {'state_dict': rapidnet, 'args': code}
    with pytest.raises(UserError, match='not data and might run code') as error:
        convert(content, tmp_path)
    assert '\n' not in str(error.value)
    assert os.listdir(tmp_path) == ['published.pth']


def test_places_that_cannot_be_written(rapidnet, tmp_path):
    published = tmp_path / 'published.pth'
    torch.save(rapidnet, published)
    with pytest.raises(UserError, match='is a folder: give the name of the file'):
        convert_checkpoint(published, tmp_path)
    with pytest.raises(UserError, match='ours.pth cannot be written: '):
        convert_checkpoint(published, published / 'ours.pth')
    with pytest.raises(UserError, match='gone.pth does not exist'):
        convert_checkpoint(tmp_path / 'gone.pth', tmp_path / 'ours.pth')


@pytest.mark.parametrize('model', SMALL)
@pytest.mark.parametrize('entry', [None, 'state_dict', 'state_dict_ema', 'model'])
def test_pretrained_asks_for_conversion(model, entry, tmp_path):
    path = tmp_path / 'as published.pth'
    state = thin_state(model)
    torch.save({entry: state} if entry else state, path)
    family, _, arch = model.partition('_')
    backbone = MODELS.build(
        dict(
            type=KEY_MAPS[family].backbone,
            arch=arch,
            init_cfg=dict(type='Pretrained', checkpoint=str(path)),
        )
    )
    with pytest.raises(UserError) as error:
        backbone.init_weights()
    assert str(error.value) == (
        f'{path} is a {KEY_MAPS[family].title} classification checkpoint, still in its '
        'published names: convert it with `python tools/convert_checkpoint.py '
        f"'{path}' 'as published_converted.pth'` and give "
        'as published_converted.pth instead'
    )
