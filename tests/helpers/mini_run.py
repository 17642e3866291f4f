"""A few iterations of mmengine's Runner; also a script for the launchers' tests."""

import json
import os
import sys

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

META = {
    'classes': ('cat', 'dog'),
    'palette': [(1, 2, 3), (4, 5, 6)],
    'sigmas': np.array([[0.25, 0.5]]),
}


class Numbers(Dataset):
    """Sample i is a vector of three times i / 8; its target is i."""

    metainfo = META

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return {'inputs': torch.full((3,), index / 8), 'data_samples': float(index)}


class Linear(BaseModel):
    """SyncBN and a linear layer; keeps the type its linear layer computed in."""

    def __init__(self):
        super().__init__()
        self.norm = nn.SyncBatchNorm(3)
        self.linear = nn.Linear(3, 1)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        output = self.linear(self.norm(inputs)).squeeze(-1)
        self.computed_in = output.dtype
        if mode == 'loss':
            return {'loss': ((output - data_samples) ** 2).mean()}
        return [
            {'output': float(o), 'target': t}
            for o, t in zip(output, data_samples, strict=True)
        ]


class TargetSum(BaseMetric):
    """The sum of the targets seen: 28 if every sample counts once."""

    def process(self, data_batch, data_samples):
        self.results += [float(sample['target']) for sample in data_samples]

    def compute_metrics(self, results):
        return {'sum': np.float64(sum(results))}


def build_runner(work_dir, max_epochs=2, cfg=None, **kwargs):
    """A runner over Numbers: 4 iterations of 2 per epoch, EMA, four schedulers."""
    loader = {
        'batch_size': 2,
        'dataset': Numbers(),
        'sampler': {'type': 'DefaultSampler', 'shuffle': False},
        'collate_fn': {'type': 'default_collate'},
    }
    torch.manual_seed(3)  # the model is built before the runner seeds anything
    optimizer = {'type': 'AdamW', 'lr': 0.01}
    arguments = {
        'train_dataloader': loader,
        'val_dataloader': dict(loader),
        'val_evaluator': Evaluator(TargetSum()),
        'train_cfg': {'by_epoch': True, 'max_epochs': max_epochs, 'val_interval': 1},
        'val_cfg': {},
        'optim_wrapper': {'type': 'OptimWrapper', 'optimizer': optimizer},
        'param_scheduler': [
            {'type': 'LinearLR', 'start_factor': 0.1, 'by_epoch': False, 'end': 3},
            {'type': 'MultiStepLR', 'milestones': [1]},
            {'type': 'CosineAnnealingLR', 'T_max': 4},
            {'type': 'PolyLR', 'power': 0.9, 'end': 4},
        ],
        'default_hooks': {
            'checkpoint': {
                'type': 'CheckpointHook',
                'interval': 1,
                'save_best': 'sum',
                'rule': 'greater',
            },
            'logger': {'type': 'LoggerHook', 'interval': 1},
        },
        'custom_hooks': [{'type': 'EMAHook'}],
        'randomness': {'seed': 3},
        # Runs that mmengine names alike and starts in one second share a logger.
        'experiment_name': os.urandom(4).hex(),
        'log_level': 'WARNING',
        'cfg': Config(cfg or {'gpu_ids': [0], 'model': {'type': 'Linear'}}),
    }
    return Runner(Linear(), str(work_dir), **{**arguments, **kwargs})


def resume(folder, path, max_epochs=2):
    """Resume a run from a file and train it to its end."""
    runner = build_runner(folder, max_epochs, resume=True, load_from=str(path))
    runner.train()
    return runner


def main(work_dir, launcher, *options):
    """Train one epoch, then write what each process ended with."""
    from mmrapidnet import compat

    compat.apply()
    wrapper = {'type': 'MMDistributedDataParallel'} if 'wrapper' in options else None
    cfg = {'gpu_ids': [0, 1], 'model_wrapper_cfg': wrapper}
    if 'sync_bn' in options:
        cfg['sync_bn'] = 'torch'
    runner = build_runner(
        work_dir,
        max_epochs=1,
        cfg=cfg,
        launcher=launcher,
        env_cfg={'dist_cfg': {'backend': 'nccl', 'timeout': 60}},
    )
    runner.train()
    model = runner.model.module
    result = {
        'wrapper': type(runner.model).__name__,
        'norm': type(model.norm).__name__,
        'backend': torch.distributed.get_backend(),
        'sum': float(runner.message_hub.get_scalar('val/sum').current()),
        'weights': [p.tolist() for p in model.parameters()],
    }
    with open(os.path.join(work_dir, f'rank{runner.rank}.json'), 'w') as file:
        json.dump(result, file)


if __name__ == '__main__':
    main(*sys.argv[1:])
