"""What a checkpoint holds comes back with the values and types it was saved with."""

import argparse
import pickle
import zipfile

import numpy as np
import pytest
import torch
from helpers.accepted_files import globals_in
from helpers.malicious_files import buffer, save
from mmengine.logging import HistoryBuffer

from mmrapidnet.checkpoints.safe_load import load as safe_load


@pytest.mark.usefixtures('either_way')
def test_a_checkpoint_of_mmengine_loads_whole(trained_run):
    ours = safe_load.load(trained_run / 'epoch_2.pth')
    stock = torch.load(trained_run / 'epoch_2.pth', weights_only=False)
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


@pytest.mark.usefixtures('either_way')
def test_history_buffers_are_restored(trained_run):
    loaded = safe_load.load(trained_run / 'epoch_2.pth')['message_hub']['log_scalars']
    stock = torch.load(trained_run / 'epoch_2.pth', weights_only=False)
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


@pytest.mark.usefixtures('either_way')
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


@pytest.mark.usefixtures('either_way')
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


@pytest.mark.usefixtures('either_way')
def test_names_of_numpy_1_are_known(tmp_path):
    path = tmp_path / 'numpy1.pth'
    torch.save({'x': np.arange(3.0), 'y': np.float32(2)}, path)
    older = tmp_path / 'older.pth'
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(older, 'w') as target:
        for record in source.namelist():
            content = source.read(record)
            target.writestr(record, content.replace(b'numpy._core', b'numpy.core'))
    names = globals_in(older)
    assert 'numpy.core.multiarray scalar' in names
    loaded = safe_load.load(older)
    assert loaded['x'].tolist() == [0, 1, 2]
    assert loaded['y'] == 2


@pytest.mark.usefixtures('either_way')
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
