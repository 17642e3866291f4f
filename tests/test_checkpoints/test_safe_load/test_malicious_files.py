"""Malicious checkpoints: what is refused, in one line, and that nothing runs."""

import io
import os
import resource

import pytest
import torch
from helpers import malicious_files
from helpers.malicious_files import HOSTILE, MALICIOUS, Pickled, save
from helpers.mini_run import resume
from mmengine.model import BaseModule
from mmengine.registry import DefaultScope
from mmengine.runner.checkpoint import CheckpointLoader

from mmrapidnet.checkpoints.safe_load import load as safe_load
from mmrapidnet.checkpoints.safe_load import zip_records
from mmrapidnet.utils.errors import UserError


@pytest.mark.usefixtures('either_way')
@pytest.mark.parametrize('name', MALICIOUS)
def test_a_malicious_file_is_refused_in_one_line(tmp_path, canary, name):
    path = malicious_files.write(name, tmp_path / 'malicious.pth', canary)
    before = _peak_memory()
    with pytest.raises(UserError, match=f'^checkpoint {path} (holds|is)') as caught:
        safe_load.load(path)
    assert '\n' not in str(caught.value)
    assert str(caught.value).isprintable()
    assert _peak_memory() - before < 128 << 20


@pytest.mark.parametrize('claimed', [5, -4], ids=['longer', 'negative'])
def test_no_storage_is_longer_than_its_record(tmp_path, monkeypatch, claimed):
    """Some older versions of torch would let it reach into foreign memory."""
    monkeypatch.setattr(safe_load, 'TORCH_KNOWS_STAND_INS', False)
    path = tmp_path / 'malicious.pth'
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


@pytest.mark.usefixtures('either_way')
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


@pytest.mark.usefixtures('either_way')
def test_mmengine_loads_hostile_files_no_more_than_we_do(tmp_path, canary):
    path = tmp_path / 'hostile.pth'
    torch.save({'x': Pickled(os.system, (f'touch {canary}',))}, path)
    with pytest.raises(UserError, match=r'posix.system'):
        CheckpointLoader.load_checkpoint(str(path), map_location='cpu')
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    with pytest.raises(UserError, match=r'posix.system'):
        BaseModule(init_cfg).init_weights()
    with pytest.raises(UserError, match=r'posix.system'):
        resume(tmp_path, path)


def test_a_teacher_is_loaded_as_safely(tmp_path, canary):
    pytest.importorskip('mmpretrain')
    from mmrapidnet.models.classifiers.teacher import Teacher

    path = malicious_files.write('zip: os.system', tmp_path / 'malicious.pth', canary)
    cfg = dict(
        type='ImageClassifier',
        backbone=dict(type='LeNet5', num_classes=2),
        head=dict(type='ClsHead'),
        checkpoint=str(path),
    )
    with (
        DefaultScope.overwrite_default_scope('mmpretrain'),
        pytest.raises(UserError, match=r'posix.system'),
    ):
        Teacher(cfg, preprocessor=None)


@pytest.mark.usefixtures('either_way')
@pytest.mark.skipif(
    not hasattr(torch.serialization, 'safe_globals'), reason='no names to allow'
)
def test_names_that_others_allow_do_not_count(tmp_path, canary, trained_run):
    """A process, or mmengine itself, may have allowed torch more than we do."""
    path = malicious_files.write('zip: eval', tmp_path / 'malicious.pth', canary)
    allowed = [eval, getattr]
    with torch.serialization.safe_globals(allowed):
        with pytest.raises(UserError, match=r'holds (builtins\.)?eval, which is not'):
            safe_load.load(path)
        message_hub = safe_load.load(trained_run / 'epoch_2.pth')['message_hub']
        assert set(torch.serialization.get_safe_globals()) >= set(allowed)
    loss = message_hub['log_scalars']['train/loss']
    assert loss.current() == loss.data[0][-1]


def test_a_download_is_loaded_as_safely(tmp_path, canary):
    path = tmp_path / 'hostile.pth'
    torch.save({'x': Pickled(os.system, (f'touch {canary}',))}, path)
    with pytest.raises(UserError, match=r'posix.system'):
        safe_load.load_url('https://localhost/hostile.pth', model_dir=tmp_path)


@pytest.mark.usefixtures('either_way')
@pytest.mark.parametrize('kept', [0, 1, 100, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_told(tmp_path, trained_run, kept):
    whole = (trained_run / 'epoch_2.pth').read_bytes()
    size = kept if isinstance(kept, int) else int(len(whole) * kept)
    path = tmp_path / 'cut.pth'
    path.write_bytes(whole[:size])
    with pytest.raises(
        UserError,
        match=r'cut.pth is truncated or not a checkpoint \(\w+: .*\): copy it again$',
    ):
        safe_load.load(path)


@pytest.mark.usefixtures('either_way')
def test_a_name_plays_no_tricks_on_the_terminal(tmp_path):
    path = tmp_path / 'escape.pth'
    name = b'\x1b[2J' * 1000
    path.write_bytes(b'\x80\x02cos\n' + name + b'\n.')
    with pytest.raises(UserError, match=r'escape.pth holds os.\\x1b\[2J') as caught:
        safe_load.load(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.usefixtures('either_way')
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
