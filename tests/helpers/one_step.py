"""A training step of a config's model on small images of noise."""

import numpy as np
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

# Edge of the images.
SMALL = 64


def synthetic_batch(scope: str, num_classes: int, **kwargs) -> dict:
    """Two images of noise with random labels.

    Args:
        scope: 'mmdet' or 'mmseg'.
        num_classes: The number of classes.
        **kwargs: What else `mmdet.testing.demo_mm_inputs` takes.

    Returns:
        What a data preprocessor of the library takes.
    """
    shape = (SMALL, SMALL)
    if scope == 'mmdet':
        from mmdet.testing import demo_mm_inputs

        batch = demo_mm_inputs(
            2,
            [[3, *shape]] * 2,
            num_items=[3, 2],
            # It draws labels from 1 on, of which there are none of one class.
            num_classes=max(num_classes, 2),
            **{'with_mask': True, **kwargs},
        )
        for sample in batch['data_samples']:
            sample.gt_instances.labels %= num_classes
            sample.set_metainfo(dict(scale_factor=(1.0, 1.0)))
        return batch
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    rng = np.random.RandomState(0)
    samples = []
    for _ in range(2):
        labels = torch.from_numpy(rng.randint(0, num_classes, (1, *shape)))
        sample = SegDataSample(gt_sem_seg=PixelData(data=labels))
        names = ('img_shape', 'ori_shape', 'pad_shape')
        sample.set_metainfo({**dict.fromkeys(names, shape), 'scale_factor': (1.0, 1.0)})
        samples.append(sample)
    images = [
        torch.from_numpy(rng.randint(0, 255, (3, *shape), dtype=np.uint8))
        for _ in range(2)
    ]
    return dict(inputs=images, data_samples=samples)


def take_step(model: torch.nn.Module, cfg: Config, batch: dict) -> set[str]:
    """Take a training step by a config's optimizer.

    The loss must be finite, and the first parameter, one of the backbone, must change.

    Args:
        model: The model of the config.
        cfg: The config.
        batch: What its data preprocessor takes.

    Returns:
        Names of the parameters that no gradient has reached.
    """
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    model.train()
    reached = set()
    for name, parameter in model.named_parameters():
        parameter.register_post_accumulate_grad_hook(
            lambda _, name=name: reached.add(name)
        )
    before = next(model.parameters()).detach().clone()
    log = model.train_step(batch, optim_wrapper)
    assert log['loss'].isfinite() and log['loss'] > 0
    assert not torch.equal(before, next(model.parameters()))
    return {name for name, _ in model.named_parameters()} - reached
