"""Configs of small models on the small Shapes data set, and their checkpoints."""

from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from dev.benchmark.peers import randomize_norms
from helpers.commands import REPO
from mmrapidnet.config.load import load_config

ARCH = (
    'dict(_delete_=True, channels=(8, 16, 24, 32), local_blocks=(1,) * 4, '
    'global_blocks=(0, 0, 1, 1))'
)
# One of each, for what takes seconds per block, as exporting does.
TWO_BLOCKS = {
    'model.backbone.arch.local_blocks': (1, 0, 0, 0),
    'model.backbone.arch.global_blocks': (0, 0, 0, 1),
}
# Of a Mask R-CNN, for a neck of 16 channels.
THIN_HEADS = """
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16),
        bbox_head=dict(in_channels=16, fc_out_channels=32),
        mask_roi_extractor=dict(out_channels=16),
        mask_head=dict(in_channels=16, conv_out_channels=16),
    ),"""
WORKERS = """
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = dict(num_workers=0, persistent_workers=False)
"""
CONFIGS = {
    'segmenter': (
        'semfpn_rapidnet_ti_shapes.py',
        f"""
model = dict(
    backbone=dict(arch={ARCH}),
    neck=dict(in_channels=[8, 16, 24, 32], out_channels=16),
    decode_head=dict(in_channels=[16] * 4, channels=16),
)
{WORKERS}""",
    ),
    'detector': (
        'maskrcnn_rapidnet_ti_shapes.py',
        f"""
model = dict(
    backbone=dict(arch={ARCH}),
    neck=dict(in_channels=[8, 16, 24, 32], out_channels=16),{THIN_HEADS}
    test_cfg=dict(rpn=dict(max_per_img=30), rcnn=dict(max_per_img=12)),
)
{WORKERS}""",
    ),
    'sam': (
        'sam_repvit_m0_6_shapes.py',
        """
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, channels=(8, 8, 16, 16), blocks=(1, 1, 2, 2))
    ),
    neck=dict(in_channels=[16, 16], out_channels=32),
    image_size=64,
)
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[3]['scale'] = test_pipeline[2]['scale'] = (64, 64)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline)
)
test_dataloader = val_dataloader
""",
    ),
    'classifier': (
        'rapidnet_ti_in1k.py',
        f"""
model = dict(
    backbone=dict(arch={ARCH}, drop_path_rate=0.0),
    head=dict(classifier=dict(in_channels=32, hidden_channels=16)),
)
test_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
""",
    ),
}


def write_config(kind: str, folder: Path, base: str | None = None) -> Path:
    """Write the config of a small model.

    Args:
        kind: 'segmenter', 'detector', 'sam' or 'classifier'.
        folder: Where it goes.
        base: The config that it changes. Defaults to that of the smallest on Shapes, of
            a classifier on ImageNet.

    Returns:
        Its path.
    """
    usual, changes = CONFIGS[kind]
    base = base or usual
    path = folder / f'tiny_{kind}.py'
    path.write_text(f"_base_ = '{REPO / 'configs' / base}'\n{changes}")
    return path


def write_checkpoint(cfg: Config, path: Path, seed: int = 0) -> Path:
    """Write random weights of a model that looks at its image as a trained one does."""
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        torch.manual_seed(seed)
        model = MODELS.build(cfg.model).train()
    randomize_norms(model, seed)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    noise = torch.randn(4, cfg.model.backbone.get('in_channels', 3), 8, 8)
    images = torch.nn.functional.interpolate(noise, size=(128, 128))
    with torch.no_grad():
        # Statistics of images, so that no bias drowns them.
        if cfg.default_scope == 'mmdet':
            model.extract_feat(images)
        else:
            model(images, mode='tensor')
    for name, weight in model.named_parameters():
        if name.endswith(('fc_cls.weight', 'fc_reg.weight', 'conv_logits.weight')):
            weight.data *= 10
    torch.save({'state_dict': model.state_dict()}, path)
    return path


def write_imagenet(root: Path, count: int = 4) -> Path:
    """Write a validation set of noise in ImageNet's flat layout."""
    (root / 'val').mkdir(parents=True)
    (root / 'meta').mkdir()
    lines = []
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 255, (8, 10, 3), np.uint8)
        name = f'{number}.png'
        cv2.imwrite(str(root / 'val' / name), cv2.resize(noise, (300, 260)))
        lines.append(f'{name} {number}\n')
    (root / 'meta' / 'val.txt').write_text(''.join(lines))
    return root


def load(kind: str, folder: Path, root: Path, options: dict | None = None) -> Config:
    """The config of a small model, with its data under a folder."""
    return load_config(str(write_config(kind, folder)), options, str(root))


def build_model(cfg: Config) -> torch.nn.Module:
    """A config's model with random statistics, its blocks far from the identity."""
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        torch.manual_seed(0)
        cfg.model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
        model = MODELS.build(cfg.model)
    for name, weight in model.named_parameters():
        if name.endswith('.scale'):
            weight.data.uniform_(0.1, 0.5)
    return randomize_norms(model).eval()


class GraphSession:
    """Runs a graph in PyTorch as if it were a file, of a changed image if need be."""

    def __init__(self, graph, metadata, distort=lambda image: image):
        self.graph, self.metadata, self.distort = graph, metadata, distort

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        assert image.dtype == np.float32
        with torch.no_grad():
            values = self.graph.module(self.distort(torch.from_numpy(image)))
        return {name: v.numpy() for name, v in zip(self.graph.outputs, values)}
