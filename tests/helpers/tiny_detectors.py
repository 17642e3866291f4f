"""Small one-stage detectors of mmdet, with random weights and scores of every size."""

from copy import deepcopy
from operator import attrgetter
from pathlib import Path

import mmdet
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn
from torch.nn import functional as F

from dev.benchmark.peers import randomize_norms
from mmrapidnet.deploy.detectors import build_detector
from mmrapidnet.deploy.formats import SUFFIXES, load_format, onnx_model
from mmrapidnet.deploy.graphs import build_graph
from mmrapidnet.deploy.isolated import IsolatedSession
from mmrapidnet.deploy.metadata import describe
from mmrapidnet.deploy.verify import compare

SIZES = [(96, 128), (75, 110)]
GREY = 120.0

# mmdet's own config of each, which is cut down below.
CONFIGS = {
    'retinanet': 'retinanet/retinanet_r50_fpn_1x_coco.py',
    'fcos': 'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
    'atss': 'atss/atss_r50_fpn_1x_coco.py',
    'gfl': 'gfl/gfl_r50_fpn_1x_coco.py',
    'rtmdet': 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
    'rtmdet_ins': 'rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py',
    'condinst': 'condinst/condinst_r50_fpn_ms-poly-90k_coco_instance.py',
    'paa': 'paa/paa_r50_fpn_1x_coco.py',
    'solov2': 'solov2/solov2-light_r50_fpn_ms-3x_coco.py',
}
# With three maps, which are converted sooner.
FEW_MAPS = {
    'retinanet': {
        'neck.num_outs': 3,
        'bbox_head.anchor_generator.strides': [8, 16, 32],
    },
    'fcos': {'neck.num_outs': 3, 'bbox_head.strides': [8, 16, 32]},
    'condinst': {'neck.num_outs': 3, 'bbox_head.strides': [8, 16, 32]},
}
# Mean and deviation of what a last layer gives, by the end of its name: boxes of the
# sizes of small images.
STATISTICS = {
    'retina_reg': (0.0, 0.4),
    'atss_reg': (0.0, 0.4),
    'conv_reg': (3.0, 0.5),
    'gfl_reg': (0.0, 2.0),
    'rtm_reg': (0.7, 0.6),
    'controller': (0.0, 0.5),
    '_kernel': (0.0, 0.5),
    '_cls': (-4.0, 2.0),
    'centerness': (0.0, 2.0),
    'projection': (0.0, 1.0),
    'conv_pred': (0.0, 1.0),
}


def build(name: str, **options) -> nn.Module:
    """Build one in evaluation mode; options are dotted names of its config."""
    path = Path(mmdet.__file__).parent / '.mim' / 'configs' / CONFIGS[name]
    cfg = Config.fromfile(path).model
    cfg.backbone = dict(
        type='RapidNet',
        arch=dict(
            channels=(16, 16, 16, 16),
            local_blocks=(1, 0, 0, 0),
            global_blocks=(0, 0, 0, 0),
        ),
        out_indices=(0, 1, 2, 3) if name == 'solov2' else (1, 2, 3),
    )
    cfg.neck.update(in_channels=[16] * len(cfg.backbone.out_indices), out_channels=32)
    if cfg.neck.type == 'FPN':
        cfg.neck.start_level = 0
    head = cfg.mask_head if name == 'solov2' else cfg.bbox_head
    head.update(num_classes=5, in_channels=32, feat_channels=32, stacked_convs=1)
    if name == 'gfl':
        cfg.bbox_head.reg_max = 4
    cfg.data_preprocessor.update(
        mean=[GREY] * 3, std=[60.0] * 3, bgr_to_rgb=False, pad_size_divisor=32
    )
    if name == 'condinst':
        cfg.mask_head.mask_feature_head.update(in_channels=32, feat_channels=16)
    if name == 'solov2':
        head.num_grids = [12, 10, 8, 6, 4]
        head.mask_feature_head.update(feat_channels=32, out_channels=32)
    # Maps of a pixel have no groups, and what is uniform stays so.
    for part in (cfg.neck, head):
        part.norm_cfg = dict(type='BN')
    cfg.test_cfg.nms_pre = 100
    cfg = Config(dict(model=cfg))
    cfg.merge_from_dict({f'model.{key}': value for key, value in options.items()})
    torch.manual_seed(0)
    init_default_scope('mmdet')
    model = randomize_norms(MODELS.build(cfg.model)).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity='relu')
    for layer, mean, std in _last_layers(model):
        _spread(model, layer, mean, std)
    return model


def dense_head(model):
    """The head that sees all of the image."""
    return model.bbox_head if model.with_bbox else model.mask_head


def run_heads(model, image):
    """All that a detector computes before it detects; the maps of the dense head."""
    features = model.extract_feat(image)
    if model.with_bbox and model.with_mask:
        model.mask_head.mask_feature_head(features)
    return dense_head(model)(features)


def _last_layers(model):
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d) and '_head' in name:
            path = '.'.join(part for part in name.split('.') if not part.isdigit())
            for end, (mean, std) in STATISTICS.items():
                if path.endswith(end):
                    yield layer, mean, std
                    break


@torch.no_grad()
def _spread(model, layer, mean, std):
    """Let the channels of a layer give values of this mean and deviation."""
    given = []
    hook = layer.register_forward_hook(
        lambda module, inputs, output: given.append(output.transpose(0, 1).flatten(1))
    )
    run_heads(model, make_image(SIZES[0]))
    hook.remove()
    given = torch.cat(given, dim=1)
    scale = std / given.std(dim=1)
    layer.weight *= scale.view(-1, 1, 1, 1)
    layer.bias.copy_((layer.bias - given.mean(dim=1)) * scale + mean)


class Detector(nn.Module):
    """The graph of a model from an image without padding."""

    def __init__(self, model):
        super().__init__()
        self.detector = build_detector(model)

    def forward(self, image):
        return self.detector(pad(image), *image.shape[2:])


def pad(image):
    height, width = image.shape[2:]
    return F.pad(image, (0, -width % 32, 0, -height % 32))


def make_image(size, seed=1):
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def predict(model, image, ori_shape=None, scale_factor=(1.0, 1.0)):
    """What mmdet predicts, of a picture of another size if need be."""
    size = tuple(image.shape[2:])
    sample = DetDataSample(
        metainfo=dict(
            img_shape=size, ori_shape=ori_shape or size, scale_factor=scale_factor
        )
    )
    (result,) = model.predict(pad(image), [sample], rescale=ori_shape is not None)
    return result.pred_instances


def changed(model, path, value):
    """A copy of the model with another option, by its dotted name."""
    model = deepcopy(model)
    owner, _, name = path.rpartition('.')
    setattr(attrgetter(owner)(model) if owner else model, name, value)
    return model


class ExportedDetectors:
    """Files of detectors that find nothing in a grey image, and their graphs.

    Args:
        folder: Where the files go.
    """

    def __init__(self, folder):
        self.folder, self.made = folder, {}

    def open(self, name, fmt):
        """The graph of a detector and a function that runs its file."""
        if name not in self.made:
            self.made[name] = self._write(name)
        graph = self.made[name]
        path = self.folder / f'{name}{SUFFIXES[fmt]}'
        return graph, IsolatedSession(path, threads=1)

    def _write(self, name):
        model = build(name, **FEW_MAPS.get(name, {}))
        dense_head(model).test_cfg.score_thr = quiet_threshold(model)
        graph = build_graph(model)
        metadata = describe(None, graph, 'fp32')
        converted = onnx_model.convert(graph, metadata['input'])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(onnx_model, 'convert', lambda *_: converted)
            for fmt in ('onnx', 'openvino'):
                path = self.folder / f'{name}{SUFFIXES[fmt]}'
                load_format(fmt).write(graph, None, path, metadata)
        return graph


@torch.no_grad()
def quiet_threshold(model):
    """A score above all those of a grey image."""
    maps = run_heads(model, torch.zeros(1, 3, 96, 128))
    logits = maps[0 if model.with_bbox else 1]
    return max(level.sigmoid().max().item() for level in logits) + 1e-3


def noise(size):
    """An image full of detections, as files take it."""
    generator = torch.Generator().manual_seed(2)
    return torch.randint(256, (1, 3, *size), generator=generator).float().numpy()


def assert_file_detects_alike(graph, run, tolerance=1e-4):
    """Compare a file with its graph: at odd sizes, and where there is nothing."""
    for size in SIZES:
        differences = compare(graph, run, (noise(size),))
        assert all(difference.relative < tolerance for difference in differences)
    found = run(np.full((1, 3, *SIZES[1]), GREY, np.float32))
    assert [len(output) for output in found.values()] == [0] * len(graph.outputs)
