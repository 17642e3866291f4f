"""What libraries and published repositories write, beside what runs of tests do.

`ACCEPTED` is the table: a name, and what makes the content of a file.
"""

import argparse
import collections
import io
import pickletools
import zipfile

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from torch import nn

from mmrapidnet.checkpoints import safetensors_file

CLASSES = ('circle', 'square')
PALETTE = [(1, 2, 3), (4, 5, 6)]


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def weights(prefix=''):
    """A state dict with the versions that PyTorch attaches to it."""
    return model().state_dict(prefix=prefix)


def trained(kind=torch.optim.AdamW, **options):
    """An optimizer that made a step."""
    net = model()
    optimizer = kind(net.parameters(), lr=0.1, **options)
    net(torch.ones(1, 3, 5, 5)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def hub(name):
    """A message hub with every kind of value that mmengine and its hooks put there."""
    hub = MessageHub.get_instance(name)
    for value in (1.0, 2.0):
        hub.update_scalar('train/loss', value)
    hub.update_info('epoch', 1)
    hub.update_info('best_score', np.float64(0.5))
    hub.update_info('last_ckpt', 'epoch_1.pth')
    hub.update_info('cfg', 'seed = 1\n')
    hub.update_info('dataset_meta', dict(classes=CLASSES, palette=PALETTE))
    hub.update_info('loop_stage', 'train', resumed=False)
    return hub.state_dict()


def mmengine(**changes):
    """As `Runner.save_checkpoint` writes it."""
    content = dict(
        meta=dict(
            epoch=1,
            iter=8,
            cfg='seed = 1\n',
            seed=3,
            experiment_name='x_20260101_000000',
            time='20260101_000000',
            mmengine_version='0.10.7',
            dataset_meta=dict(classes=CLASSES, palette=PALETTE),
        ),
        state_dict=weights(),
        message_hub=hub('accepted'),
        optimizer=trained(),
        param_schedulers=[
            dict(
                begin=0,
                end=3,
                by_epoch=False,
                base_values=[0.1],
                last_step=8,
                milestones=collections.Counter({5: 1}),
                _global_step=9,
                _last_value=[0.1],
                verbose=False,
            )
        ],
    )
    return {**content, **changes}


def mmcv1(**meta):
    """As mmdet 2.x and mmsegmentation 0.x wrote it, by mmcv 1."""
    return dict(
        meta=dict(
            env_info='sys.platform: linux\nPython: 3.8',
            config="model = dict(type='MaskRCNN')\ngpu_ids = range(0, 8)\n",
            seed=None,
            exp_name='x.py',
            epoch=12,
            iter=87_960,
            mmcv_version='1.4.8',
            time='Mon Jan  1 00:00:00 2026',
            hook_msgs=dict(last_ckpt='a/epoch_12.pth', best_score=0.4),
            CLASSES=CLASSES,
            PALETTE=PALETTE,
            **meta,
        ),
        state_dict=collections.OrderedDict(weights('backbone.')),
        optimizer=trained(),
    )


ARGS = argparse.Namespace(
    lr=0.002, model='rapidnet_s', opt_betas=None, distributed=True, decay_rate=0.1
)
SCALER = dict(
    scale=65536.0,
    growth_factor=2.0,
    backoff_factor=0.5,
    growth_interval=2000,
    _growth_tracker=7,
)


def scheduler_of_timm():
    return dict(
        base_values=[0.1], param_group_field='lr', metric=None, noise_range_t=None
    )


def buffers():
    """Histories in the shapes that runs leave them in: empty, cut, of integers."""
    return {
        'empty': HistoryBuffer(),
        'cut': HistoryBuffer([1.0] * 9, [1] * 9, 4),
        'scalars': HistoryBuffer([np.float32(1)], [2]),
    }


ACCEPTED = {
    'mmengine': mmengine,
    'mmengine, average of the weights': lambda: mmengine(
        ema_state_dict={'steps': torch.tensor(3), **weights('module.')}
    ),
    'mmengine, mixed precision': lambda: mmengine(
        optimizer={**trained(), 'loss_scaler': SCALER}
    ),
    'mmengine, parameters with settings of their own': lambda: mmengine(
        optimizer={**trained(), 'base_param_settings': {'params': [0], 'lr': 0.1}}
    ),
    'mmengine, several optimizers': lambda: mmengine(
        optimizer={'generator': trained(), 'critic': trained(torch.optim.SGD)},
        param_schedulers={'generator': [{'last_step': 3}], 'critic': []},
    ),
    'mmengine, momentum': lambda: mmengine(
        optimizer=trained(torch.optim.SGD, momentum=0.9, nesterov=True)
    ),
    'mmengine, accumulated squares': lambda: mmengine(
        optimizer=trained(torch.optim.Adagrad)
    ),
    'mmengine, histories': lambda: mmengine(
        message_hub=dict(
            log_scalars=buffers(), runtime_info={}, resumed_keys={'cut': True}
        )
    ),
    'mmengine, labels with arrays': lambda: mmengine(
        meta=dict(dataset_meta=dict(classes=CLASSES, sigmas=np.array([[0.5]])))
    ),
    'mmengine, random state': lambda: mmengine(
        random_state=dict(torch=torch.get_rng_state(), seed=torch.tensor([1, 2]))
    ),
    'mmengine, published': lambda: dict(meta=None, state_dict=weights()),
    'mmdet': lambda: mmengine(state_dict=weights('backbone.'), meta=mmengine()['meta']),
    'mmpretrain, bare backbone': lambda: dict(state_dict=weights('backbone.'), meta={}),
    'mmdet 2.x': lambda: mmcv1(mmdet_version='2.25.0'),
    'mmseg 0.x': lambda: mmcv1(mmseg_version='0.30.0'),
    'mmcv 1, best score by NumPy': lambda: mmcv1(best=np.float32(0.4)),
    'RapidNet': lambda: dict(
        state_dict=weights(), state_dict_ema=weights(), epoch=299, arch='rapidnet_s',
        args=ARGS, optimizer=trained(), version=2, metric=78.1, amp_scaler=SCALER,
    ),
    'MobileViG': lambda: dict(
        model=weights(), model_ema=weights(), optimizer=trained(), epoch=299,
        lr_scheduler=scheduler_of_timm(), scaler=SCALER, args=ARGS,
    ),
    'RepViT': lambda: dict(model=weights(), optimizer=trained(), epoch=449, args=ARGS),
    'RepViT, average alone': lambda: dict(model_ema=weights()),
    'timm, bare': weights,
    'torchvision, bare': lambda: collections.OrderedDict(weights()),
    'data parallel': lambda: dict(state_dict=weights('module.')),
    'parameters': lambda: dict(model().named_parameters()),
    'half precision': lambda: {k: v.half() for k, v in weights().items()},
    'channels last': lambda: {
        'w': torch.ones(1, 3, 4, 4).to(memory_format=torch.channels_last)
    },
}  # fmt: skip


def old_format(name):
    """The same file as PyTorch before 1.6 wrote it."""
    file = io.BytesIO()
    torch.save(ACCEPTED[name](), file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def as_safetensors():
    return safetensors_file.write(weights(), dict(mmrapidnet_conversion={'kind': 'x'}))


def globals_in(path):
    """The names a checkpoint refers to."""
    with zipfile.ZipFile(path) as archive:
        record = next(r for r in archive.namelist() if r.endswith('data.pkl'))
        operations = list(pickletools.genops(archive.read(record)))
    return {argument for code, argument, _ in operations if code.name == 'GLOBAL'}
