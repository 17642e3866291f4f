"""Checkpoints from strangers: what is refused, what loads, and that nothing runs."""

import argparse
import collections
import io
import os
import pickle
import pickletools
import resource
import zipfile

import numpy as np
import pytest
import torch
from helpers import malicious_files, mini_run
from helpers.malicious_files import HOSTILE, MALICIOUS, Pickled, buffer, save
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader

from mmrapidnet import compat
from mmrapidnet.checkpoints.safe_load import config_text, zip_records
from mmrapidnet.checkpoints.safe_load import load as safe_load
from mmrapidnet.utils.errors import UserError


@pytest.fixture(autouse=True)
def _patched():
    compat.apply()


@pytest.fixture(params=['torch', 'restricted_unpickler'])
def _either_way(request, monkeypatch):
    """Both ways of loading: that of torch >= 2.6 and that of older ones."""
    if request.param == 'restricted_unpickler':
        monkeypatch.setattr(safe_load, '_torch_knows_stand_ins', lambda: False)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The folder of a real run of two epochs."""
    compat.apply()
    folder = tmp_path_factory.mktemp('trained')
    mini_run.build_runner(folder, name='trained').train()
    return folder


def _resume(folder, path, max_epochs=2):
    """Resume a run from a file and train it to its end."""
    name = f'resume{os.urandom(4).hex()}'
    runner = mini_run.build_runner(
        folder, max_epochs, name=name, resume=True, load_from=str(path)
    )
    runner.train()
    return runner


def _globals_in(path):
    """The names a checkpoint refers to."""
    with zipfile.ZipFile(path) as archive:
        record = next(r for r in archive.namelist() if r.endswith('data.pkl'))
        operations = list(pickletools.genops(archive.read(record)))
    return {argument for code, argument, _ in operations if code.name == 'GLOBAL'}


@pytest.fixture
def canary(tmp_path):
    path = tmp_path / 'canary'
    yield path
    assert not path.exists(), 'code from the checkpoint was executed'


@pytest.mark.usefixtures('_either_way')
@pytest.mark.parametrize('crafted', MALICIOUS)
def test_a_crafted_file_is_refused_in_one_line(tmp_path, canary, crafted):
    path = malicious_files.write(crafted, tmp_path / 'crafted.pth', canary)
    before = _peak_memory()
    with pytest.raises(UserError, match=f'^checkpoint {path} (holds|is)') as caught:
        safe_load.load(path)
    assert '\n' not in str(caught.value)
    assert str(caught.value).isprintable()
    assert _peak_memory() - before < 128 << 20


@pytest.mark.parametrize('claimed', [5, -4], ids=['longer', 'negative'])
def test_no_storage_is_longer_than_its_record(tmp_path, monkeypatch, claimed):
    """Some older versions of torch would let it reach into foreign memory."""
    monkeypatch.setattr(safe_load, '_torch_knows_stand_ins', lambda: False)
    path = tmp_path / 'crafted.pth'
    path.write_bytes(malicious_files.tensor_in_zip(claimed, 1, 1))
    with pytest.raises(UserError, match='a storage is longer than its record'):
        safe_load.load(path)
    path.write_bytes(malicious_files.tensor_in_zip(4, 4, 1))
    assert safe_load.load(path)['x'].tolist() == [0, 0, 0, 0]


def test_of_two_records_that_torch_may_take_the_shorter_counts():
    records = [('a/data/0', bytes(8)), ('A/DATA/0', bytes(4)), ('a/version', b'3')]
    archive = io.BytesIO(malicious_files.archive(records))
    assert zip_records.record_bytes(archive) == {'0': 4, 'version': 1}


def _peak_memory():
    """In bytes, of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def test_there_are_twenty_malicious_files_and_more(tmp_path):
    files = {make(tmp_path / 'canary') for make in MALICIOUS.values()}
    assert len(files) == len(MALICIOUS) >= 100


@pytest.mark.parametrize('old_format', [False, True], ids=['zip', 'old'])
@pytest.mark.parametrize('name', ['os.system', 'eval', 'exec', 'nested', 'as key'])
def test_the_malicious_files_would_run_code(tmp_path, name, old_format):
    path, trace = tmp_path / 'hostile.pth', tmp_path / 'trace'
    content = HOSTILE[name](f'touch {trace}')
    save(path, content, _use_new_zipfile_serialization=not old_format)
    torch.load(path, weights_only=False)
    assert trace.exists()


@pytest.mark.usefixtures('_either_way')
@pytest.mark.parametrize(
    ('name', 'named'),
    [
        ('os.system', 'posix.system'),
        ('eval', 'eval'),
        ('getattr globals', 'builtins.getattr'),
        ('dtype fields', 'numpy.dtype'),
        ('config', 'builtins.getattr|mmengine.config'),
    ],
)
def test_the_refused_name_is_told(tmp_path, canary, name, named):
    path = tmp_path / 'hostile.pth'
    save(path, {'extra': HOSTILE[name](f'touch {canary}')})
    with pytest.raises(UserError, match=f'holds (builtins.)?({named}).* is not data'):
        safe_load.load(path)


@pytest.mark.usefixtures('_either_way')
def test_mmengine_loads_hostile_files_no_more_than_we_do(tmp_path, canary):
    path = tmp_path / 'hostile.pth'
    torch.save({'x': Pickled(os.system, (f'touch {canary}',))}, path)
    with pytest.raises(UserError, match=r'posix.system'):
        CheckpointLoader.load_checkpoint(str(path), map_location='cpu')
    with pytest.raises(UserError, match=r'posix.system'):
        _resume(tmp_path, path)


@pytest.mark.usefixtures('_either_way')
@pytest.mark.skipif(
    not hasattr(torch.serialization, 'safe_globals'), reason='no names to allow'
)
def test_names_that_others_allow_do_not_count(tmp_path, canary, trained):
    """A process, or mmengine itself, may have allowed torch more than we do."""
    path = malicious_files.write('zip: eval', tmp_path / 'crafted.pth', canary)
    allowed = [eval, getattr]
    with torch.serialization.safe_globals(allowed):
        with pytest.raises(UserError, match=r'holds (builtins\.)?eval, which is not'):
            safe_load.load(path)
        message_hub = safe_load.load(trained / 'epoch_2.pth')['message_hub']
        assert set(torch.serialization.get_safe_globals()) >= set(allowed)
    loss = message_hub['log_scalars']['train/loss']
    assert loss.current() == loss.data[0][-1]


def test_a_download_is_loaded_as_safely(tmp_path, canary):
    path = tmp_path / 'hostile.pth'
    torch.save({'x': Pickled(os.system, (f'touch {canary}',))}, path)
    with pytest.raises(UserError, match=r'posix.system'):
        safe_load.load_url('https://localhost/hostile.pth', model_dir=tmp_path)


@pytest.mark.usefixtures('_either_way')
@pytest.mark.parametrize('kept', [0, 1, 100, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_told(tmp_path, trained, kept):
    whole = (trained / 'epoch_2.pth').read_bytes()
    size = kept if isinstance(kept, int) else int(len(whole) * kept)
    path = tmp_path / 'cut.pth'
    path.write_bytes(whole[:size])
    with pytest.raises(
        UserError,
        match=r'cut.pth is truncated or not a checkpoint \(\w+: .*\): copy it again$',
    ):
        safe_load.load(path)


@pytest.mark.usefixtures('_either_way')
def test_a_name_plays_no_tricks_on_the_terminal(tmp_path):
    path = tmp_path / 'escape.pth'
    name = b'\x1b[2J' * 1000
    path.write_bytes(b'\x80\x02cos\n' + name + b'\n.')
    with pytest.raises(UserError, match=r'escape.pth holds os.\\x1b\[2J') as caught:
        safe_load.load(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.usefixtures('_either_way')
def test_other_than_a_dict_is_told(tmp_path):
    path = tmp_path / 'list.pth'
    torch.save([1, 2], path)
    with pytest.raises(
        UserError, match=r'list.pth holds a list, not a dict of weights'
    ):
        safe_load.load(path)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(UserError, match=r'none.pth does not exist: check the path'):
        safe_load.load(tmp_path / 'none.pth')


@pytest.mark.usefixtures('_either_way')
def test_a_checkpoint_of_mmengine_loads_whole(trained):
    ours = safe_load.load(trained / 'epoch_2.pth')
    stock = torch.load(trained / 'epoch_2.pth', weights_only=False)
    assert set(ours) == {
        'meta',
        'state_dict',
        'message_hub',
        'optimizer',
        'param_schedulers',
        'ema_state_dict',
    }
    for key, value in stock['state_dict'].items():
        assert torch.equal(ours['state_dict'][key], value)
    assert ours['state_dict']._metadata == stock['state_dict']._metadata
    assert ours['param_schedulers'] == stock['param_schedulers']
    assert ours['optimizer']['param_groups'] == stock['optimizer']['param_groups']
    for index, state in stock['optimizer']['state'].items():
        for key, value in state.items():
            assert torch.equal(ours['optimizer']['state'][index][key], value)
    meta = ours['meta']['dataset_meta']
    assert meta['classes'] == ('cat', 'dog')
    assert meta['palette'] == [(1, 2, 3), (4, 5, 6)]
    assert np.array_equal(meta['sigmas'], [[0.25, 0.5]])
    info = ours['message_hub']['runtime_info']
    assert type(info['best_score']) is np.float64
    assert info['best_score'] == 28


@pytest.mark.usefixtures('_either_way')
def test_history_buffers_are_restored(trained):
    loaded = safe_load.load(trained / 'epoch_2.pth')['message_hub']['log_scalars']
    stock = torch.load(trained / 'epoch_2.pth', weights_only=False)
    buffer = loaded['train/loss']
    assert type(buffer) is HistoryBuffer
    for ours, theirs in zip(
        buffer.data,
        stock['message_hub']['log_scalars']['train/loss'].data,
        strict=True,
    ):
        assert type(ours) is np.ndarray
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)
    assert len(buffer.data[0]) == 8
    assert buffer.statistics('mean') == pytest.approx(buffer.data[0].sum() / 8)


@pytest.mark.usefixtures('_either_way')
def test_a_buffer_cannot_change_the_class_of_buffers(tmp_path):
    path = tmp_path / 'buffer.pth'
    ones = np.ones(2)
    state = {'_log_history': ones, '_count_history': ones, 'max_length': 9}
    extra = {'statistics_methods': {'mean': set, 'mine': set}, 'current': set}
    save(path, {'x': buffer(**state, **extra)})
    loaded = safe_load.load(path)['x']
    assert loaded.statistics('mean') == 1
    assert loaded.current() == 1
    assert 'mine' not in HistoryBuffer._statistics_methods
    assert HistoryBuffer._statistics_methods['mean'] is HistoryBuffer.mean


@pytest.mark.usefixtures('_either_way')
@pytest.mark.parametrize(
    'array',
    [
        np.arange(6, dtype='>i4').reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([True, False]),
        np.array(['abc', 'd']),
        np.array(2.5),
        np.zeros((0, 4), np.float16),
        np.array([1 + 2j]),
        np.uint8(7),
        np.str_('text'),
    ],
)
def test_arrays_and_scalars_are_restored_and_pickle_alike(tmp_path, array):
    path = tmp_path / 'array.pth'
    torch.save({'x': array}, path)
    loaded = safe_load.load(path)['x']
    assert np.array_equal(loaded, array)
    # NumPy itself turns foreign byte order into the machine's.
    assert loaded.dtype == pickle.loads(pickle.dumps(array, 2)).dtype
    assert np.shape(loaded) == np.shape(array)
    again = pickle.loads(pickle.dumps(loaded))
    assert type(again) is type(array)
    assert np.array_equal(again, array)


@pytest.mark.usefixtures('_either_way')
def test_names_of_numpy_1_are_known(tmp_path):
    path = tmp_path / 'numpy1.pth'
    torch.save({'x': np.arange(3.0), 'y': np.float32(2)}, path)
    older = tmp_path / 'older.pth'
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(older, 'w') as target:
        for record in source.namelist():
            content = source.read(record)
            target.writestr(record, content.replace(b'numpy._core', b'numpy.core'))
    names = _globals_in(older)
    assert 'numpy.core.multiarray scalar' in names
    loaded = safe_load.load(older)
    assert loaded['x'].tolist() == [0, 1, 2]
    assert loaded['y'] == 2


@pytest.mark.usefixtures('_either_way')
@pytest.mark.parametrize('old_format', [False, True], ids=['zip', 'old'])
def test_tensors_of_all_types_and_arguments_load(tmp_path, old_format):
    path = tmp_path / 'tensors.pth'
    names = 'float64 float32 float16 bfloat16 int64 int32 uint8 bool complex64'
    content = {
        name: torch.ones(3, dtype=getattr(torch, name)) for name in names.split()
    }
    view = torch.arange(10)[2:8:2]
    content |= {
        'view': view,
        'parameter': torch.nn.Parameter(torch.ones(2)),
        'size': torch.Size([1, 2]),
        'args': argparse.Namespace(lr=0.1, model='rapidnet_ti'),
        'bytes': b'\x00\xff',
        'set': {1, 2},
    }
    torch.save(content, path, _use_new_zipfile_serialization=not old_format)
    loaded = safe_load.load(path)
    for name in names.split():
        assert torch.equal(loaded[name], content[name])
        assert loaded[name].dtype == content[name].dtype
    assert loaded['view'].tolist() == [2, 4, 6]
    assert isinstance(loaded['parameter'], torch.nn.Parameter)
    assert loaded['size'] == (1, 2)
    assert loaded['args'] == content['args']
    assert loaded['bytes'] == b'\x00\xff'
    assert loaded['set'] == {1, 2}


def test_resume_continues_where_the_run_ended(tmp_path):
    whole = mini_run.build_runner(tmp_path / 'whole', 4, name='whole')
    whole.train()
    resumed = _resume(tmp_path / 'resumed', tmp_path / 'whole/epoch_2.pth', 4)
    assert (resumed.epoch, resumed.iter) == (4, 16)
    losses = [
        runner.message_hub.get_scalar('train/loss').data[0]
        for runner in (resumed, whole)
    ]
    assert len(losses[0]) == 16
    assert np.array_equal(*losses)
    for ours, theirs in zip(
        resumed.model.parameters(), whole.model.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)
    # What the resumed run writes is plain: stock tools load it without us.
    names = _globals_in(tmp_path / 'resumed/epoch_4.pth')
    assert 'mmengine.logging.history_buffer HistoryBuffer' in names
    assert not [name for name in names if name.startswith('mmrapidnet')]


HOSTILE_TEXTS = [
    'open({0!r}, "w").close()\n',
    'gpu_ids = [0]\nx = __import__("os").system("touch {0}")\n',
    'x = [open({0!r}, "w") for _ in [0]]\n',
    'x = f"{{open({0!r}, chr(119))}}"\n',
    'class A:\n    open({0!r}, "w")\n',
    'x = dict(a=1)["a"] if open({0!r}, "w") else 2\n',
    '@(lambda f: open({0!r}, "w"))\ndef f(): ...\n',
    'dict = lambda **k: open({0!r}, "w")\nx = dict(a=1)\n',
    'from os import *\nsystem("touch {0}")\n',
    "_base_ = ['{0}.py']\n",
    "custom_imports = dict(imports=['hostile_module'])\n",
    '(' * 5000,
    'x = ' + '[' * 3000,
    '\x00',
    'x = 0x' + 'f' * 10_000,
    'x = ' + '-' * 50_000 + '1',
    'x = "{{{{ fileDirname }}}}{{{{$HOME:x}}}}{{% set x = 1 %}}"\n',
    'x = {{{{$HOME:open({0!r}, "w")}}}}\n',
]


@pytest.mark.parametrize('text', HOSTILE_TEXTS)
def test_resume_executes_no_config_text(tmp_path, trained, canary, monkeypatch, text):
    (tmp_path / 'hostile_module.py').write_text(f'open({str(canary)!r}, "w")')
    (tmp_path / 'canary.py').write_text(f'open({str(canary)!r}, "w")')
    monkeypatch.syspath_prepend(str(tmp_path))
    stored = torch.load(trained / 'epoch_2.pth', weights_only=False)
    code = text.replace('{0!r}', repr(str(canary))).replace('{0}', str(canary))
    stored['meta'].update(config=code, cfg=code)
    stored['message_hub']['runtime_info']['cfg'] = code
    path = tmp_path / 'hostile.pth'
    torch.save(stored, path)
    runner = _resume(tmp_path, path)
    assert runner.iter == 8
    assert str(canary) not in runner.message_hub.get_info('cfg')


def test_a_dict_whose_get_is_forged_is_refused(tmp_path, trained):
    stored = torch.load(trained / 'epoch_2.pth', weights_only=False)
    stored['meta']['config'] = 'raise SystemExit\n'
    stored = collections.OrderedDict(stored)
    stored.get = collections.Counter
    path = tmp_path / 'forged.pth'
    torch.save(stored, path)
    with pytest.raises(UserError, match=r'forged.pth holds OrderedDict.get, which is'):
        safe_load.load(path)


def test_the_text_that_resume_reads_still_counts(tmp_path, trained):
    stored = torch.load(trained / 'epoch_2.pth', weights_only=False)
    stored['meta']['config'] = 'gpu_ids = [0, 1, 2]\n'
    path = tmp_path / 'three.pth'
    torch.save(stored, path)
    with pytest.raises(UserError, match='three.pth: RuntimeError: Number of GPUs used'):
        _resume(tmp_path, path)


STATES = {
    'epoch': lambda c: c['meta'].update(epoch='two'),
    'iter': lambda c: c['meta'].update(iter=None),
    'seed': lambda c: c['meta'].update(seed='x'),
    'meta': lambda c: c.update(meta=[1]),
    'no hub': lambda c: c.pop('message_hub'),
    'hub': lambda c: c.update(message_hub={'log_scalars': 3}),
    'hub names': lambda c: c['message_hub'].update(runtime_info=[1]),
    'weights': lambda c: c.update(state_dict=[1]),
    'names': lambda c: c['state_dict'].update({3: torch.ones(1)}),
    'average': lambda c: c.update(ema_state_dict=[1]),
    'optimizer': lambda c: c.update(optimizer=[1]),
    'groups': lambda c: c['optimizer'].update(param_groups=[]),
    'rate': lambda c: c['optimizer']['param_groups'][0].update(lr='x'),
    'betas': lambda c: c['optimizer']['param_groups'][0].update(betas=('x', 'y')),
    'moments': lambda c: c['optimizer']['state'][0].update(exp_avg=torch.ones(77)),
    'schedulers': lambda c: c.update(param_schedulers=[1]),
    'schedule': lambda c: c['param_schedulers'][0].update(last_step='x'),
    'method': lambda c: c['param_schedulers'][0].update(step=3),
    'milestones': lambda c: c['param_schedulers'][1].update(milestones=['x']),
    'rates': lambda c: c['param_schedulers'][2].update(base_values=['x']),
}


@pytest.mark.parametrize('state', STATES)
def test_a_state_that_cannot_be_resumed_is_told(tmp_path, trained, state):
    stored = torch.load(trained / 'epoch_2.pth', weights_only=False)
    STATES[state](stored)
    path = tmp_path / 'odd.pth'
    torch.save(stored, path)
    with pytest.raises(
        UserError, match='a run cannot start from .*odd.pth: '
    ) as caught:
        _resume(tmp_path, path)
    assert str(caught.value).isprintable()


def test_inert_text_is_the_same_config():
    cfg = Config(
        {
            'model': {'type': 'A', 'depth': -1, 'init_cfg': None, 'on': True},
            'steps': [8, 11],
            'pipeline': [{'type': 'Resize', 'scale': (2048, 512)}, {'type': 'Pack'}],
            'keys': {'a-b': 1, 'c': {'d.e': 2.5e-4}},
            'words': {'quoted': 'a "b" \'c\' {{ fileBasename }} {{{'},
            'custom_imports': {'imports': ['no_such_module']},
        }
    )
    text = config_text.inert(cfg.pretty_text)
    expected = cfg.to_dict()
    expected.pop('custom_imports')
    assert Config.fromstring(text, file_format='.py').to_dict() == expected
    assert config_text.inert(text) == text


@pytest.mark.parametrize('meta', [None, [1], 'text', {'cfg': 3, 'config': [b'x']}])
def test_a_meta_of_any_kind_is_made_inert(tmp_path, meta):
    path = tmp_path / 'odd.pth'
    torch.save({'meta': meta, 'message_hub': meta, 'state_dict': {}}, path)
    loaded = safe_load.load(path)
    expected = {'cfg': '', 'config': ''} if isinstance(meta, dict) else meta
    assert loaded['meta'] == expected


def test_an_inferencer_asks_for_the_config(tmp_path, trained, canary):
    pytest.importorskip('mmdet')
    from mmdet.apis import DetInferencer

    stored = torch.load(trained / 'epoch_2.pth', weights_only=False)
    stored['message_hub']['runtime_info']['cfg'] = f'open({str(canary)!r}, "w")'
    path = tmp_path / 'hostile.pth'
    torch.save(stored, path)
    with pytest.raises(UserError, match='no config given: the one stored in a check'):
        DetInferencer(weights=str(path), device='cpu')
