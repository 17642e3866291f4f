"""The patches for CPUs and for torchvision: where they act, and where they do not."""

import importlib.util
import json
import os
import sys

import pytest
import torch
from helpers import mini_run
from helpers.commands import REPO, run_command
from helpers.forked import fork, torchrun_variables
from mmengine.config import Config
from mmengine.model import BaseModel, BaseModule, PretrainedInit
from mmengine.optim import (
    AmpOptimWrapper,
    DefaultOptimWrapperConstructor,
    OptimWrapper,
)
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner import Runner, checkpoint
from torch import nn

from mmrapidnet import compat
from mmrapidnet.compat import amp, config_packages, distributed, torchvision_ops

HAS_TORCHVISION = importlib.util.find_spec('torchvision') is not None
ON_CPU = pytest.mark.skipif(torch.cuda.is_available(), reason='patches CPUs only')


def list_patched():
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
        BaseModule.init_weights,
        DefaultOptimWrapperConstructor.__call__,
        checkpoint.load_url,
        type(checkpoint.torch),
    ]


def test_applying_twice_is_applying_once():
    compat.apply()
    once = list_patched()
    compat.apply()
    assert list_patched() == once
    assert not hasattr(Runner.wrap_model.__wrapped__, '__wrapped__')


def test_a_config_patches_and_importing_the_package_does_not(tmp_path):
    """By one more import; torchvision can be imported then."""
    config = tmp_path / 'config.py'
    config.write_text(
        "custom_imports = dict(imports=['mmrapidnet', 'mmrapidnet.compat.patch_all'])\n"
    )
    code = f"""
import sys
import mmrapidnet
import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import checkpoint
assert checkpoint.torch is torch
assert AmpOptimWrapper.__init__.__module__.startswith('mmengine')
print(sorted({{'mmdet', 'mmseg', 'mmpretrain', 'torchvision'}} & set(sys.modules)))
try:
    import torchvision
    print('stock')
except (RuntimeError, ModuleNotFoundError) as error:
    print(error)
Config.fromfile({str(config)!r})
print(checkpoint.load_url.__module__)
if {HAS_TORCHVISION}:
    import torchvision
    print(torchvision.ops.nms.__name__)
    print(torch.ops.torchvision.nms.default._schema)
"""
    done = run_command(sys.executable, '-c', code)
    assert done.returncode == 0, done.stderr
    libraries, stock, load_url, *rest = done.stdout.strip().splitlines()
    assert libraries == '[]'
    assert load_url == 'mmrapidnet.checkpoints.safe_load.load'
    if HAS_TORCHVISION:
        assert stock in ('stock', 'operator torchvision::nms does not exist')
        imported, schema = rest
        assert imported == 'nms'
        assert 'torchvision::nms(Tensor dets, Tensor scores, float iou_thresh' in schema


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
    cfg = Config.fromfile(REPO / 'configs' / 'semfpn_rapidnet_ti_ade20k.py')
    assert cfg.model.decode_head.type == 'FPNHead'


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


def test_torchvision_operators_that_exist_are_left_alone(monkeypatch):
    schema = '(Tensor dets, float mine) -> Tensor'
    mine = torch.library.Library('torchvision', 'FRAGMENT')
    mine.define('made_up' + schema)
    schemas = {'made_up': '(Tensor dets) -> Tensor', 'also_made_up': schema}
    monkeypatch.setattr(torchvision_ops, 'SCHEMAS', schemas)
    library = torchvision_ops._declare_absent.__wrapped__()
    for name in schemas:
        assert 'float mine' in str(getattr(torch.ops.torchvision, name).default._schema)
    del library, mine


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
def test_nothing_is_patched_where_there_is_an_accelerator(monkeypatch, device):
    from mmengine.dist import utils
    from mmengine.runner import runner

    names = ('__init__', 'step', 'backward', 'state_dict', 'load_state_dict')
    methods = [(AmpOptimWrapper, name) for name in names]
    methods += [(utils, f'_init_dist_{name}') for name in ('pytorch', 'slurm', 'mpi')]
    methods += [(Runner, 'wrap_model'), (runner, 'convert_sync_batchnorm')]

    def stock(self):
        """Stands for what mmengine has there."""

    for owner, name in methods:
        monkeypatch.setattr(owner, name, stock)
    monkeypatch.setattr('mmengine.device.get_device', lambda: device)
    amp.apply()
    distributed.apply()
    patched = [getattr(owner, name) is not stock for owner, name in methods]
    assert patched == [device == 'cpu'] * len(methods)


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
    runner = mini_run.build_runner(tmp_path, 1, optim_wrapper=wrapper)
    runner.train()
    assert isinstance(runner.optim_wrapper, AmpOptimWrapper)
    assert runner.message_hub.get_scalar('train/loss').data[0].size == 4
    resumed = mini_run.build_runner(
        tmp_path,
        2,
        optim_wrapper=wrapper,
        resume=True,
        load_from=str(tmp_path / 'epoch_1.pth'),
    )
    resumed.train()
    assert resumed.iter == 8


@ON_CPU
def test_sync_bn_becomes_bn_in_one_process(tmp_path):
    runner = mini_run.build_runner(tmp_path)
    assert not isinstance(runner.model.norm, nn.SyncBatchNorm)
    assert runner.model.norm.num_features == 3


def run_on_cpus(monkeypatch, work_dir, launcher, variables, options=()):
    """Train in processes that a launcher has started, which it tells these variables.

    Returns:
        What each process wrote down.
    """
    for name in ('RANK', 'LOCAL_RANK'):
        monkeypatch.delenv(name, raising=False)

    def run(told):
        os.environ.update(told)
        mini_run.main(str(work_dir), launcher, *options)

    processes = [fork(run, told) for told in variables]
    for process in processes:
        process.join(300)
        assert process.exitcode == 0
    files = [work_dir / f'rank{rank}.json' for rank in range(len(processes))]
    return [json.loads(file.read_text()) for file in files]


@ON_CPU
@pytest.mark.parametrize('options', [(), ('wrapper', 'sync_bn')])
def test_two_processes_train_and_evaluate_on_cpus(tmp_path, monkeypatch, options):
    variables = torchrun_variables(2)
    ranks = run_on_cpus(monkeypatch, tmp_path, 'pytorch', variables, options)
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
def test_other_launchers_start_on_cpus(tmp_path, monkeypatch, launcher, variables):
    (told,) = torchrun_variables(1)
    address = {name: told[name] for name in ('MASTER_ADDR', 'MASTER_PORT')}
    told = {**variables, **address}
    (rank,) = run_on_cpus(monkeypatch, tmp_path, launcher, [told])
    assert rank['backend'] == 'gloo'
