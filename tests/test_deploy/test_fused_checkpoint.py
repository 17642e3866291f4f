"""Checkpoints of fused models: written, told apart, loaded, refused for training."""

import pytest
import torch
from conftest import REPO, assert_one_line_error, run_tool
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from tool_server import fork_tool

from mmrapidnet.benchmark.peers import randomize_norms
from mmrapidnet.checkpoints import load_pretrained
from mmrapidnet.checkpoints.fused import RECORD
from mmrapidnet.checkpoints.pretrained import read_checkpoint
from mmrapidnet.checkpoints.writing import sha256_of
from mmrapidnet.deploy import fuse, is_fused
from mmrapidnet.deploy.fused_checkpoint import fuse_checkpoint
from mmrapidnet.deploy.loading import load_model
from mmrapidnet.deploy.stored_config import TYPES
from mmrapidnet.engine.config import load_config
from mmrapidnet.engine.shapes import iter_dicts
from mmrapidnet.engine.train import read_start
from mmrapidnet.errors import UserError

CONFIG = str(REPO / 'configs' / 'semfpn_rapidnet_ti_shapes.py')
LABELS = dict(classes=['a', 'b'], palette=[[0, 0, 0], [1, 2, 3]])


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The model, and its checkpoint as mmengine writes one."""
    cfg = load_config(CONFIG)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = randomize_norms(MODELS.build(cfg.model)).eval()
    path = tmp_path_factory.mktemp('trained') / 'iter_2.pth'
    meta = dict(cfg=cfg.pretty_text, dataset_meta=LABELS, iter=2)
    optimizer = dict(state={}, param_groups=[])
    torch.save(
        dict(state_dict=model.state_dict(), meta=meta, optimizer=optimizer), path
    )
    return model, path


def predict(model) -> torch.Tensor:
    image = torch.randn(1, 3, 70, 90, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(image)


@pytest.mark.parametrize('name', ['fused.pth', 'fused.safetensors'])
def test_the_tool(trained, tmp_path, name):
    model, path = trained
    out = tmp_path / name
    process = run_tool('fuse.py', path, out)
    assert process.returncode == 0, process.stderr
    before, after = len(model.state_dict()), len(fuse(model).state_dict())
    assert f'iter_2.pth: {before} tensors fused into {after}' in process.stdout
    assert f'written to {out}' in process.stdout

    content = read_checkpoint(str(out))
    assert set(content) == {'state_dict', 'meta'}
    assert content['meta']['dataset_meta'] == LABELS
    record = content['meta'][RECORD]
    assert (record['source'], record['sha256']) == ('iter_2.pth', sha256_of(path))
    loaded = load_model(load_config(CONFIG), content, str(out))
    assert is_fused(loaded)
    torch.testing.assert_close(predict(loaded), predict(model), rtol=1e-4, atol=1e-4)
    assert_one_line_error(
        fork_tool('fuse.py', out, tmp_path / 'again.pth'), 'is fused already'
    )


def test_an_unfused_one_loads_as_it_is(trained):
    model, path = trained
    loaded = load_model(load_config(CONFIG), read_checkpoint(str(path)), str(path))
    assert not is_fused(loaded)
    assert torch.equal(predict(loaded), predict(model))


def test_training_does_not_start_from_one(trained, tmp_path):
    model, path = trained
    out = str(tmp_path / 'fused.pth')
    fuse_checkpoint(path, out)
    expected = 'is fused, for evaluation only: start from .* made from, iter_2.pth'
    with pytest.raises(UserError, match=expected):
        load_pretrained(model.backbone, out)
    cfg = load_config(CONFIG)
    for options in (dict(load_from=out), dict(load_from=out, resume=True)):
        cfg.merge_from_dict(options)
        with pytest.raises(UserError, match=expected):
            read_start(cfg)


def test_what_cannot_be_fused(trained, tmp_path):
    model, _ = trained
    bare = tmp_path / 'bare.pth'
    torch.save(model.state_dict(), bare)
    out = tmp_path / 'out.pth'
    with pytest.raises(UserError, match='bare.pth brings no config of its model: give'):
        fuse_checkpoint(bare, out)
    fuse_checkpoint(bare, out, CONFIG)
    with pytest.raises(UserError, match='does not fit|matches nothing'):
        fuse_checkpoint(bare, out, CONFIG.replace('rapidnet_ti', 'repvit_m0_9'))
    with pytest.raises(UserError, match='is the file that is read: give another name'):
        fuse_checkpoint(bare, bare, CONFIG)
    coded = tmp_path / 'coded.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=dict(cfg='x = f()')), coded)
    with pytest.raises(UserError, match='coded.pth brings no config of its model'):
        fuse_checkpoint(coded, out)
    with pytest.raises(UserError, match='is a folder: give the name of the file'):
        fuse_checkpoint(bare, tmp_path, CONFIG)
    assert not list(tmp_path.glob('.*'))


def store(path, trained, **changes):
    """The trained checkpoint with another config of its model in it."""
    content = read_checkpoint(str(trained[1]))
    cfg = Config.fromstring(content['meta']['cfg'], '.py')
    cfg.merge_from_dict(changes)
    content['meta']['cfg'] = cfg.pretty_text
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ('named', 'changes'),
    [
        (
            'subprocess.Popen',
            {
                'model.backbone': dict(
                    type='subprocess.Popen', args=['touch', 'canary'], _delete_=True
                )
            },
        ),
        (
            'os.system',
            {'model.decode_head.loss_decode': dict(type='os.system', command='x')},
        ),
        ('torch.hub.load', {'model.neck.type': 'torch.hub.load'}),
        ('mmpretrain.TimmClassifier', {'model.type': 'mmpretrain.TimmClassifier'}),
        ('antigravity', {'model.neck._scope_': 'antigravity'}),
        ('antigravity.FPN', {'model.neck.type': 'antigravity.FPN'}),
        ('_base_', {'model.neck._base_': 'evil.py'}),
    ],
)
def test_a_stored_config_builds_parts_of_our_models_alone(
    trained, tmp_path, monkeypatch, named, changes
):
    monkeypatch.chdir(tmp_path)
    path = store(tmp_path / 'hostile.pth', trained, **changes)
    with pytest.raises(UserError, match=f'hostile.pth names {named}, which is no part'):
        fuse_checkpoint(path, tmp_path / 'out.pth')
    assert [file.name for file in tmp_path.iterdir()] == ['hostile.pth']


@pytest.mark.parametrize(
    'changes',
    [
        {'model.backbone': 3},
        {'model.neck.in_channels': 'four'},
        {'model.neck.out_channels': 1 << 40},
        {'model.decode_head.num_classes': -1},
        {'model.decode_head.norm_cfg': []},
    ],
)
def test_a_stored_config_of_no_model_is_told(trained, tmp_path, changes):
    path = store(tmp_path / 'odd.pth', trained, **changes)
    expected = 'no model comes of the config in .*odd.pth|odd.pth does not fit'
    with pytest.raises(UserError, match=expected) as caught:
        fuse_checkpoint(path, tmp_path / 'out.pth')
    assert '\n' not in str(caught.value)


def test_the_parts_of_our_models_are_known():
    for path in sorted((REPO / 'configs' / '_base_' / 'models').glob('*.py')):
        for part in iter_dicts(Config.fromfile(path).model):
            kind = str(part.get('type', 'BN')).rpartition('.')[2]
            # Initialisation and teachers are not taken from a checkpoint.
            initialises = kind in ('Kaiming', 'TruncNormal', 'Pretrained')
            assert kind in TYPES or initialises or 'checkpoint' in part, path
