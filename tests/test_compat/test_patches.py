"""The patches for CPUs and for torchvision: where they act, and where they do not."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import mini_run
from mmengine.config import Config
from mmengine.model import BaseModel, PretrainedInit
from mmengine.optim import (
    AmpOptimWrapper,
    DefaultOptimWrapperConstructor,
    OptimWrapper,
)
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner import Runner, checkpoint
from torch import nn

from mmrapidnet import compat
from mmrapidnet.compat import config_packages, torchvision_ops

ROOT = Path(compat.__file__).parents[2]
ON_CPU = pytest.mark.skipif(torch.cuda.is_available(), reason='patches CPUs only')


@pytest.fixture(autouse=True)
def _patched():
    compat.apply()


def _python(code, *arguments, **options):
    return subprocess.run(
        [sys.executable, '-c', code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **options,
    )


def _patched():
    from mmengine.dist import utils
    from mmengine.infer import BaseInferencer
    from mmengine.runner import runner

    return [
        *(getattr(AmpOptimWrapper, m) for m in ('__init__', 'step', 'load_state_dict')),
        *(getattr(utils, f'_init_dist_{m}') for m in ('pytorch', 'slurm', 'mpi')),
        Runner.wrap_model,
        runner.convert_sync_batchnorm,
        BaseInferencer._init_model,
        PretrainedInit.__call__,
        DefaultOptimWrapperConstructor.__call__,
        checkpoint.load_url,
        type(checkpoint.torch),
    ]


def test_applying_twice_is_applying_once():
    once = _patched()
    compat.apply()
    assert _patched() == once
    assert not hasattr(Runner.wrap_model.__wrapped__, '__wrapped__')


def test_importing_the_package_patches_nothing():
    code = """
import sys
import mmrapidnet
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import checkpoint
import torch
assert checkpoint.torch is torch
assert AmpOptimWrapper.__init__.__module__.startswith('mmengine')
print(sorted({'mmdet', 'mmseg', 'mmpretrain', 'torchvision'} & set(sys.modules)))
"""
    done = _python(code)
    assert done.stdout.strip() == '[]', done.stderr


def test_one_more_import_in_a_config_patches(tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(
        "custom_imports = dict(imports=['mmrapidnet', 'mmrapidnet.compat.patch_all'])\n"
    )
    code = f"""
from mmengine.config import Config
Config.fromfile({str(config)!r})
from mmengine.runner import checkpoint
print(checkpoint.load_url.__module__)
"""
    assert _python(code).stdout.strip() == 'mmrapidnet.checkpoints.safe_load.load'


def test_configs_of_mmseg_are_found_without_its_package(monkeypatch):
    """As in the fork, where another package brings the module."""
    names = {'mmseg': 'mmsegmentation'}
    monkeypatch.setattr('mmengine.config.utils.MODULE2PACKAGE', names)
    monkeypatch.setattr('mmengine.utils.is_installed', lambda name: True)
    config_packages.apply()
    assert names == {'mmseg': 'mmsegmentation'}
    monkeypatch.setattr('mmengine.utils.is_installed', lambda name: name == 'mmseg')
    config_packages.apply()
    assert names == {'mmseg': 'mmseg'}
    cfg = Config.fromfile(ROOT / 'configs' / 'semfpn_rapidnet_ti_ade20k.py')
    assert cfg.model.decode_head.type == 'FPNHead'


@pytest.mark.skipif(not importlib.util.find_spec('torchvision'), reason='torchvision')
def test_torchvision_imports_after_apply():
    code = """
try:
    import torchvision
    print('stock')
except RuntimeError as error:
    print(error)
from mmrapidnet import compat
compat.apply()
compat.apply()
import torch, torchvision
print(torchvision.ops.nms.__name__)
print(torch.ops.torchvision.nms.default._schema)
"""
    done = _python(code)
    assert done.returncode == 0, done.stderr
    stock, imported, schema = done.stdout.strip().splitlines()
    assert stock in ('stock', 'operator torchvision::nms does not exist')
    assert imported == 'nms'
    assert 'torchvision::nms(Tensor dets, Tensor scores, float iou_thresh' in schema


@pytest.mark.parametrize('name', ['_C.so', '_C_stable.so'])
def test_torchvisions_extension_is_loaded_whatever_its_name(
    tmp_path, monkeypatch, name
):
    for file in (name, '_C.py', 'image.so'):
        (tmp_path / file).touch()
    loaded = []
    monkeypatch.setattr(torch.ops, 'load_library', loaded.append)
    torchvision_ops._load_extension(str(tmp_path))
    assert loaded == [str(tmp_path / name)]


def test_torchvision_operators_that_exist_are_left_alone():
    code = """
import torch
library = torch.library.Library('torchvision', 'DEF')
library.define('nms(Tensor dets, Tensor scores, float mine) -> Tensor')
library.define('qnms(Tensor dets, Tensor scores, float mine) -> Tensor')
from mmrapidnet.compat import torchvision_ops
torchvision_ops._load_extension = lambda folder: None  # which may have its own
torchvision_ops.apply()
print('mine' in str(torch.ops.torchvision.nms.default._schema))
"""
    done = _python(code)
    assert done.stdout.strip() == 'True', done.stderr


def test_nothing_is_patched_where_there_is_an_accelerator():
    code = """
import mmengine.device
mmengine.device.get_device = lambda: 'cuda'
from mmrapidnet.compat import amp, distributed
from mmengine.dist import utils
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import Runner, runner
amp.apply()
distributed.apply()
items = [AmpOptimWrapper.__init__, AmpOptimWrapper.step, AmpOptimWrapper.state_dict]
items += [AmpOptimWrapper.load_state_dict, Runner.wrap_model]
items += [utils._init_dist_pytorch, utils._init_dist_slurm, utils._init_dist_mpi]
items += [runner.convert_sync_batchnorm]
print([i.__module__ for i in items if not i.__module__.startswith('mmengine')])
print([i for i in items if hasattr(i, '__wrapped__')])
print(AmpOptimWrapper.step.__qualname__)
"""
    done = _python(code)
    expected = ['[]', '[]', 'AmpOptimWrapper.step']
    assert done.stdout.splitlines() == expected, done.stderr


class Net(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, inputs, mode='loss'):
        output = self.linear(inputs)
        self.computed_in = output.dtype
        return {'loss': output.float().square().mean()}


def _amp_wrapper(model, **kwargs):
    # lr 0.5: each step is half the gradient, exact in float32.
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    cfg = {'type': 'AmpOptimWrapper', 'optimizer': optimizer, **kwargs}
    return OPTIM_WRAPPERS.build(cfg)


@ON_CPU
@pytest.mark.parametrize(
    'options',
    [
        {'loss_scale': 'dynamic'},
        {'loss_scale': 512.0, 'dtype': 'float16'},
        {'loss_scale': {'init_scale': 2.0}, 'dtype': torch.bfloat16},
    ],
)
def test_amp_on_a_cpu_steps_in_bfloat16_with_float32_weights(options):
    torch.manual_seed(0)
    model = Net()
    with torch.no_grad():
        model.linear.weight.copy_(torch.tensor([[1.0, 2, 3, 4], [4, 3, 2, 1]]))
        model.linear.bias.zero_()
    wrapper = _amp_wrapper(model, **options)
    inputs = torch.tensor([[1.0, 0, 0, 0]])
    with wrapper.optim_context(model):
        loss = model(inputs)['loss']
    assert model.computed_in == torch.bfloat16
    assert loss.item() == (1 + 16) / 2
    wrapper.update_params(loss)
    assert model.linear.weight.dtype == torch.float32
    # d loss / d w[i, 0] = output[i]; half of it is subtracted, unscaled.
    assert model.linear.weight[:, 0].tolist() == [0.5, 2]
    assert model.linear.weight[:, 1:].tolist() == [[2, 3, 4], [3, 2, 1]]
    model(inputs)
    assert model.computed_in == torch.float32  # outside


@ON_CPU
def test_amp_on_a_cpu_clips_gradients():
    model = Net()
    wrapper = _amp_wrapper(model, clip_grad={'max_norm': 1e-6})
    before = model.linear.weight.clone()
    with wrapper.optim_context(model):
        loss = model(torch.ones(1, 4))['loss']
    wrapper.update_params(loss)
    assert (model.linear.weight - before).norm() < 1e-6


@ON_CPU
def test_amp_state_is_that_of_the_optimizer():
    wrapper = _amp_wrapper(Net())
    state = wrapper.state_dict()
    assert 'loss_scaler' not in state
    assert state['param_groups'][0]['lr'] == 0.5
    state['param_groups'][0]['lr'] = 0.25
    # A run on an accelerator left its scaler: it is not needed here.
    resumed = _amp_wrapper(Net())
    resumed.load_state_dict({**state, 'loss_scaler': {'scale': 2.0}})
    assert resumed.optimizer.param_groups[0]['lr'] == 0.25
    assert isinstance(resumed, OptimWrapper)


@ON_CPU
def test_a_runner_trains_and_resumes_under_amp(tmp_path):
    cfg = {'type': 'OptimWrapper', 'optimizer': {'type': 'AdamW', 'lr': 0.01}}
    wrapper = Config({'optim_wrapper': cfg}).optim_wrapper
    # What `--amp` does in the libraries' train scripts.
    wrapper.type = 'AmpOptimWrapper'
    wrapper.loss_scale = 'dynamic'
    runner = mini_run.build_runner(tmp_path, 1, name='amp', optim_wrapper=wrapper)
    runner.train()
    assert isinstance(runner.optim_wrapper, AmpOptimWrapper)
    assert runner.message_hub.get_scalar('train/loss').data[0].size == 4
    resumed = mini_run.build_runner(
        tmp_path,
        2,
        name='amp again',
        optim_wrapper=wrapper,
        resume=True,
        load_from=str(tmp_path / 'epoch_1.pth'),
    )
    resumed.train()
    assert resumed.iter == 8


@ON_CPU
def test_sync_bn_becomes_bn_in_one_process(tmp_path):
    runner = mini_run.build_runner(tmp_path, name='one process')
    assert not isinstance(runner.model.norm, nn.SyncBatchNorm)
    assert runner.model.norm.num_features == 3


@ON_CPU
@pytest.mark.parametrize('options', [(), ('wrapper', 'sync_bn')])
def test_two_processes_train_and_evaluate_on_cpus(tmp_path, options):
    script = Path(mini_run.__file__)
    done = subprocess.run(
        [
            sys.executable,
            '-m',
            'torch.distributed.run',
            '--standalone',
            '--nproc_per_node',
            '2',
            str(script),
            str(tmp_path),
            'pytorch',
            *options,
        ],
        cwd=ROOT,
        env={**_environment(), 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ranks = [json.loads((tmp_path / f'rank{r}.json').read_text()) for r in (0, 1)]
    assert ranks[0] == ranks[1]
    assert ranks[0]['wrapper'] == 'MMDistributedDataParallel'
    assert ranks[0]['backend'] == 'gloo'
    assert ranks[0]['norm'] == '_BatchNormXd'
    # The samples 0 to 7 of the two halves, each counted once.
    assert ranks[0]['sum'] == 28
    assert (tmp_path / 'epoch_1.pth').is_file()


@ON_CPU
@pytest.mark.parametrize(
    ('launcher', 'variables'),
    [
        (
            'slurm',
            {
                'SLURM_PROCID': '0',
                'SLURM_NTASKS': '1',
                'SLURM_NODELIST': 'localhost',
                'SLURM_LOCALID': '0',
            },
        ),
        (
            'mpi',
            {
                'OMPI_COMM_WORLD_LOCAL_RANK': '0',
                'OMPI_COMM_WORLD_SIZE': '1',
                'OMPI_COMM_WORLD_RANK': '0',
            },
        ),
    ],
)
def test_other_launchers_start_on_cpus(tmp_path, launcher, variables):
    done = subprocess.run(
        [sys.executable, mini_run.__file__, str(tmp_path), launcher],
        cwd=ROOT,
        env={
            **_environment(),
            **variables,
            'PYTHONPATH': str(ROOT),
            'MASTER_ADDR': 'localhost',
            'MASTER_PORT': str(_free_port()),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / 'rank0.json').read_text())['backend'] == 'gloo'


def _environment():
    return {k: v for k, v in os.environ.items() if k not in ('RANK', 'LOCAL_RANK')}


def _free_port():
    with socket.socket() as probe:
        probe.bind(('localhost', 0))
        return probe.getsockname()[1]
