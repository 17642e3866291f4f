"""Small detectors in two stages with scores of every size, and what mmdet predicts."""

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from dev.benchmark.peers import randomize_norms
from helpers.commands import REPO
from helpers.tiny_detectors import SIZES, make_image, pad


@torch.no_grad()
def predict(model, image):
    """What mmdet predicts: boxes, scores, labels, of masks 28x28 probabilities."""
    heads = list_stages(model, 'mask_head') if model.with_mask else []
    logits = [[] for _ in heads]
    hooks = [
        head.register_forward_hook(lambda *called, to=to: to.append(called[2]))
        for head, to in zip(heads, logits)
    ]
    size = tuple(image.shape[2:])
    sample = DetDataSample(
        metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0))
    )
    features = model.extract_feat(pad(image))
    proposals = model.rpn_head.predict(features, [sample], rescale=False)
    (found,) = model.roi_head.predict(features, proposals, [sample], rescale=False)
    for hook in hooks:
        hook.remove()
    boxes = found.bboxes, found.scores, found.labels
    if not heads:
        return boxes
    if len(found) == 0:
        return *boxes, torch.zeros(0, 28, 28)
    masks = [
        (given[:, 0] if head.class_agnostic else given[range(len(found)), found.labels])
        for head, (given,) in zip(heads, logits)
    ]
    return *boxes, torch.stack([mask.sigmoid() for mask in masks]).mean(dim=0)


def list_stages(model, part):
    """The stages of a part of the RoI head; a cascade has three."""
    found = getattr(model.roi_head, part)
    return list(found) if isinstance(found, nn.ModuleList) else [found]


@torch.no_grad()
def spread(model, layer, std):
    """Let each channel of a head's last layer give 0 in the mean, with this std."""
    given = []
    hook = layer.register_forward_hook(
        lambda module, inputs, output: given.append(output.transpose(0, 1).flatten(1))
    )
    predict(model, make_image(SIZES[0]))
    if not given:
        model.semantic_head(model.extract_feat(pad(make_image(SIZES[0]))))
    hook.remove()
    given = torch.cat(given, dim=1)
    scale = std / given.std(dim=1)
    layer.weight *= scale.view(-1, *[1] * (layer.weight.dim() - 1))
    layer.bias.copy_((layer.bias - given.mean(dim=1)) * scale)


def build(change=lambda cfg: None, **options):
    """A small Mask R-CNN, or what it is changed into, with scores of every size."""
    cfg = Config.fromfile(REPO / 'configs' / 'maskrcnn_rapidnet_ti_shapes.py')
    arch = dict(
        channels=(16, 16, 16, 16), local_blocks=(1, 0, 0, 0), global_blocks=(0, 0, 0, 0)
    )
    cfg.model.backbone.arch = arch
    cfg.model.neck.update(in_channels=list(arch['channels']), out_channels=16)
    cfg.model.rpn_head.update(in_channels=16, feat_channels=16)
    cfg.model.roi_head.bbox_head.update(in_channels=16, fc_out_channels=256)
    cfg.model.roi_head.mask_head.update(in_channels=16, conv_out_channels=16)
    cfg.model.test_cfg.rpn.nms_pre = 100
    for name in ('bbox_roi_extractor', 'mask_roi_extractor'):
        extractor = cfg.model.roi_head[name]
        extractor.out_channels = 16
        extractor.roi_layer.sampling_ratio = 0
        extractor.finest_scale = 14  # boxes of small images on every level
    cfg.merge_from_dict({f'model.{key}': value for key, value in options.items()})
    change(cfg.model)
    torch.manual_seed(0)
    init_default_scope('mmdet')
    model = randomize_norms(MODELS.build(cfg.model)).eval()
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity='relu')
    spread(model, model.rpn_head.rpn_cls, 2.0)
    spread(model, model.rpn_head.rpn_reg, 0.4)
    for head in list_stages(model, 'bbox_head'):
        spread(model, head.fc_cls, 1.5)
        spread(model, head.fc_reg, 6.0)
    for head in list_stages(model, 'mask_head') if model.with_mask else []:
        spread(model, head.conv_logits, 2.0)
    if hasattr(model, 'semantic_head'):
        spread(model, model.semantic_head.conv_logits, 2.0)
    return model


def without_masks(cfg):
    """Make a model's config one of Faster or Cascade R-CNN."""
    cfg.type = 'FasterRCNN' if cfg.type == 'MaskRCNN' else cfg.type
    cfg.roi_head.mask_roi_extractor = cfg.roi_head.mask_head = None


def in_a_cascade(cfg):
    """Give a model's config three stages, one of which refines by class."""
    head = cfg.roi_head.bbox_head
    cfg.type, cfg.train_cfg = 'CascadeRCNN', None
    cfg.roi_head.update(
        type='CascadeRoIHead',
        num_stages=3,
        stage_loss_weights=[1, 0.5, 0.25],
        bbox_head=[
            dict(
                head,
                reg_class_agnostic=stage != 1,
                bbox_coder=dict(head.bbox_coder, target_stds=[std, std, 2 * std, std]),
            )
            for stage, std in enumerate((0.1, 0.05, 0.03))
        ],
    )


def in_a_cascade_without_masks(cfg):
    in_a_cascade(cfg)
    without_masks(cfg)


def panoptic(cfg):
    """Give a model's config stuff of four classes."""
    cfg.type = 'PanopticFPN'
    classes = dict(num_things_classes=6, num_stuff_classes=4)
    cfg.semantic_head = dict(
        type='PanopticFPNHead',
        **classes,
        in_channels=16,
        inner_channels=8,
        start_level=0,
        end_level=4,
        norm_cfg=dict(type='GN', num_groups=4),
        loss_seg=dict(type='CrossEntropyLoss', ignore_index=255),
    )
    cfg.panoptic_fusion_head = dict(type='HeuristicFusionHead', **classes)
    # As mmdet's config has it.
    cfg.test_cfg.rcnn.nms.class_agnostic = True
    cfg.test_cfg.panoptic = dict(mask_overlap=0.5, stuff_area_limit=600)
