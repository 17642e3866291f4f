"""A recipe of configs/ on a model and a data set so small that it runs in seconds."""

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

from dev.benchmark.peers import randomize_norms
from helpers.commands import REPO
from mmrapidnet.config.load import load_config

CLASSES = ('blue', 'cyan', 'green', 'red', 'white', 'yellow')
IMAGES = {'train': 12, 'val': 6}
TINY = """
_base_ = '{repo}/configs/{base}_in1k.py'

classes = {classes}
backbone = dict(
    type='RapidNet',
    arch=dict(channels=(4, 4, 8, 8), local_blocks=(1,) * 4, global_blocks=(0, 0, 1, 1)),
    out_indices=(3,),
)
classifier = dict(
    type='DistilledClassifier', in_channels=8, hidden_channels=8, num_classes=6
)
head = dict(type='DistilledClsHead', classifier=classifier)
data_preprocessor = dict(num_classes=6)
model = dict(
    backbone=dict(_delete_=True, **backbone),
    head=dict(classifier=dict(_delete_=True, **classifier), init_cfg=None),
    teacher=dict(
        _delete_=True,
        type='ImageClassifier',
        backbone=backbone,
        head=head,
        checkpoint=None,
    ),
)
train_cfg = dict(max_epochs={epochs})
auto_scale_lr = dict(base_batch_size=8)
param_scheduler = dict(warmup=1)
loader = dict(num_workers=0, persistent_workers=False, dataset=dict(classes=classes))
train_dataloader = dict(**loader, batch_size=4, pin_memory=False)
val_dataloader = loader
test_dataloader = loader
default_hooks = dict(logger=dict(interval=1))
"""


def write_config(folder: Path, base: str = 'rapidnet_ti', epochs: int = 2) -> Path:
    """Write the config of a tiny RapidNet that is trained as a model of configs/."""
    path = folder / f'tiny_{base}.py'
    path.write_text(TINY.format(repo=REPO, base=base, classes=CLASSES, epochs=epochs))
    return path


def load_tiny(folder: Path, root: Path, **options) -> Config:
    """The same as a config, with data and runs in their places."""
    path = write_config(folder)
    cfg = load_config(
        str(path), options, data_root=str(root), work_dir=str(folder / 'run')
    )
    # Runs that mmengine names alike and starts in one second share a logger.
    cfg.experiment_name = folder.name
    return cfg


def write_images(root: Path, layout: str) -> Path:
    """Write images of one colour each: a folder per class, or mmpretrain's lists."""
    for split, count in IMAGES.items():
        lines = []
        for number in range(count):
            label = number % len(CLASSES)
            name = f'{CLASSES[label]}/{number}.JPEG'
            if layout == 'list':
                name = f'{number}.JPEG'
                lines.append(f'{name} {label}\n')
            path = root / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(number).integers(-20, 20, (64, 64, 3))
            colour = np.array(Image.new('RGB', (64, 64), CLASSES[label]))
            Image.fromarray(np.clip(colour + noise, 0, 255).astype('uint8')).save(path)
        if layout == 'list':
            (root / 'meta').mkdir(exist_ok=True)
            (root / 'meta' / f'{split}.txt').write_text(''.join(lines))
    return root


def write_teacher(cfg: Config, path: Path) -> Path:
    """Write random weights for the teacher of a config."""
    teacher = {k: v for k, v in cfg.model.teacher.items() if k != 'checkpoint'}
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        torch.manual_seed(7)
        model = randomize_norms(MODELS.build(teacher), seed=7)
    torch.save({'state_dict': model.state_dict()}, path)
    return path
