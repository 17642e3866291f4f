"""A small Mask2Former of this project's config, with random weights."""

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from dev.benchmark.peers import randomize_norms
from helpers.commands import REPO
from helpers.tiny_detectors import SIZES, make_image
from mmrapidnet.config.load import load_config

CLASSES, QUERIES, FOUND = 5, 12, 20
_ATTENTION = dict(embed_dims=32, num_heads=4)
_FEED_FORWARD = dict(embed_dims=32, feedforward_channels=32)
_POSITIONS = dict(num_feats=16)


def load(**options) -> Config:
    """The config of one; options are dotted names of its model."""
    cfg = load_config(str(REPO / 'configs' / 'mask2former_rapidnet_s_coco.py'))
    arch = dict(channels=(16,) * 4, local_blocks=(1, 0, 0, 0), global_blocks=(0,) * 4)
    cfg.model.backbone.update(arch=arch, drop_path_rate=0.0)
    cfg.model.data_preprocessor.batch_augments = None
    classes = dict(num_things_classes=CLASSES, num_stuff_classes=0)
    cfg.model.panoptic_fusion_head.update(classes)
    cfg.model.test_cfg.max_per_image = FOUND
    head = cfg.model.panoptic_head
    head.update(classes, in_channels=[16] * 4, feat_channels=32, out_channels=16)
    head.num_queries, head.loss_cls.class_weight = QUERIES, [1.0] * CLASSES + [0.1]
    pixels, queries = head.pixel_decoder, head.transformer_decoder
    pixels.norm_cfg.num_groups = 8
    for part in (head, pixels):
        part.positional_encoding.update(_POSITIONS)
    pixels.encoder.num_layers = 1
    queries.num_layers = 3
    pixels.encoder.layer_cfg.self_attn_cfg.update(_ATTENTION)
    for name in ('self_attn_cfg', 'cross_attn_cfg'):
        queries.layer_cfg[name].update(_ATTENTION)
    for decoder in (pixels.encoder, queries):
        decoder.layer_cfg.ffn_cfg.update(_FEED_FORWARD)
    cfg.merge_from_dict({f'model.{key}': value for key, value in options.items()})
    return cfg


@torch.no_grad()
def build(cfg: Config) -> nn.Module:
    """The model in evaluation mode, its masks and classes of all kinds."""
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = randomize_norms(MODELS.build(cfg.model)).eval()
    head = model.panoptic_head
    for weight in head.parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    for embedding in (head.query_embed, head.query_feat):
        nn.init.normal_(embedding.weight)
    maps = model.extract_feat(make_image(SIZES[0]))
    features, _ = head.pixel_decoder(maps)
    head.pixel_decoder.mask_feature.bias -= features.mean(dim=(0, 2, 3))
    classes, _ = head(maps, None)
    logits = classes[-1][0]
    scale = 1.5 / logits.std(dim=0)
    head.cls_embed.weight *= scale[:, None]
    head.cls_embed.bias.copy_((head.cls_embed.bias - logits.mean(dim=0)) * scale)
    return model
