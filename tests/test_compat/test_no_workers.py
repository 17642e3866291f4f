"""Loaders without workers, whatever a config says of those."""

import pytest
import torch
from helpers.mini_run import Numbers, build_runner
from mmengine.runner import Runner

OPTIONS = dict(persistent_workers=True, prefetch_factor=4, timeout=9)


def loader(**options):
    return dict(
        batch_size=2,
        dataset=Numbers(),
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
        **options,
    )


@pytest.mark.parametrize('count', [{}, {'num_workers': 0}])
def test_without_workers(count):
    config = loader(**OPTIONS, **count)
    built = Runner.build_dataloader(config)
    assert (built.num_workers, built.persistent_workers) == (0, False)
    assert (built.prefetch_factor, built.timeout) == (None, 0)
    assert config.keys() >= OPTIONS.keys()
    assert torch.cat([batch['data_samples'] for batch in built]).tolist() == [*range(8)]


def test_with_workers():
    built = Runner.build_dataloader(loader(**OPTIONS, num_workers=1))
    assert {name: getattr(built, name) for name in OPTIONS} == OPTIONS


def test_a_run(tmp_path):
    """In training, validation and test."""
    config = loader(**OPTIONS, num_workers=0)
    runner = build_runner(
        tmp_path,
        max_epochs=1,
        train_dataloader=config,
        val_dataloader=dict(config),
        test_dataloader=dict(config),
        test_evaluator=dict(type='DumpResults', out_file_path=str(tmp_path / 'a.pkl')),
        test_cfg={},
    )
    runner.train()
    runner.test()
    assert runner.message_hub.get_scalar('val/sum').current() == 28
