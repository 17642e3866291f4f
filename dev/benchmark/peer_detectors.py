"""Detectors of `transformers` to compare with, of random weights and published sizes.

D-FINE-N (arXiv 2410.13842) and RF-DETR-Seg-N (github.com/roboflow/rf-detr), both of
the Apache License 2.0.  What tells them from their families is taken from
transformers' converter of D-FINE's checkpoints and from ``RFDETRSegNanoConfig`` of the
package `rfdetr`; they come out at 3.77 and 33.58 million parameters, as published.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn

from dev.benchmark.peers import randomize_norms
from mmrapidnet.deploy.postprocess import Size, resize
from mmrapidnet.utils.errors import UserError

LIBRARY = 'transformers'
# As many as mmdet keeps of an image of COCO.
OBJECTS = 100


@dataclass(frozen=True)
class PeerDetector:
    """A detector by which others are measured.

    Attributes:
        build: Builds the library's model.
        size: Height and width in pixels that images are stretched to.
        outputs: What it gives: ``logits``, ``pred_boxes`` and perhaps ``pred_masks``.
        mean: Of an image's channels in RGB, 0 to 255.
        std: Their deviation.
    """

    build: Callable[[], nn.Module]
    size: Size
    outputs: tuple[str, ...]
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)


class PeerGraph(nn.Module):
    """A peer as a function of an image.

    Args:
        peer: Which one.
    """

    def __init__(self, peer: PeerDetector) -> None:
        super().__init__()
        self.model, self.outputs = randomize_norms(peer.build()), peer.outputs
        for name in ('mean', 'std'):
            values = torch.tensor(getattr(peer, name)).view(1, 3, 1, 1)
            self.register_buffer(name, values, persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """From (1, 3, H, W), BGR, 0 to 255, to the outputs."""
        found = self.model(pixel_values=(image.flip(1) - self.mean) / self.std)
        return tuple(getattr(found, name) for name in self.outputs)


def build_peer(name: str) -> PeerGraph:
    """Build a peer in evaluation mode.

    Args:
        name: One of `PEERS`.

    Returns:
        The peer.

    Raises:
        UserError: If its library is not installed.
    """
    require_peer(name)
    torch.manual_seed(0)
    return PeerGraph(PEERS[name]).eval()


def require_peer(name: str) -> None:
    """Raise a UserError unless a peer's library is installed."""
    if find_spec(LIBRARY) is None:
        raise UserError(
            f'{name} needs {LIBRARY}, which is not installed: pip install {LIBRARY}'
        )


def finish(found: dict[str, np.ndarray], size: Size) -> dict[str, np.ndarray]:
    """Make a peer's outputs what detectors predict, as its own library does.

    Args:
        found: The outputs by name, of one image.
        size: Height and width of the picture.

    Returns:
        ``boxes`` (K, 4) xyxy in pixels, ``scores`` (K,), ``labels`` (K,) and, if it has
        masks, ``masks`` (K, *size), bool; the `OBJECTS` of the highest scores.
    """
    scores = 1 / (1 + np.exp(-found['logits'][0]))
    best = np.argsort(-scores, axis=None)[:OBJECTS]
    queries, labels = np.unravel_index(best, scores.shape)
    height, width = size
    centers, extents = np.split(found['pred_boxes'][0][queries], 2, axis=1)
    corners = np.concatenate([centers - extents / 2, centers + extents / 2], axis=1)
    result = {
        'boxes': corners * np.float32([width, height, width, height]),
        'scores': scores[queries, labels],
        'labels': labels,
    }
    if 'pred_masks' in found:
        masks = torch.from_numpy(found['pred_masks'][0][queries])
        result['masks'] = np.stack([resize(m, [size]).numpy() > 0 for m in masks])
    return result


def _build_dfine_n() -> nn.Module:
    from transformers import DFineConfig, DFineForObjectDetection, HGNetV2Config

    backbone = HGNetV2Config(
        hidden_sizes=[128, 256, 512, 1024],
        stem_channels=[3, 16, 16],
        stage_in_channels=[16, 64, 256, 512],
        stage_mid_channels=[16, 32, 64, 128],
        stage_out_channels=[64, 256, 512, 1024],
        stage_num_blocks=[1, 1, 2, 1],
        stage_downsample=[False, True, True, True],
        stage_light_block=[False, False, True, True],
        stage_kernel_size=[3, 3, 5, 5],
        stage_numb_of_layers=[3, 3, 3, 3],
        out_indices=[3, 4],
        use_learnable_affine_block=True,
    )
    config = DFineConfig(
        backbone_config=backbone,
        num_labels=80,
        anchor_image_size=list(PEERS['transformers:dfine_n'].size),
        d_model=128,
        encoder_hidden_dim=128,
        encoder_ffn_dim=512,
        encoder_in_channels=[512, 1024],
        encode_proj_layers=[1],
        feat_strides=[16, 32],
        num_feature_levels=2,
        depth_mult=0.5,
        hidden_expansion=0.34,
        decoder_layers=3,
        decoder_ffn_dim=512,
        decoder_in_channels=[128, 128],
        decoder_n_points=[6, 6],
    )
    return DFineForObjectDetection(config)


def _build_rf_detr_seg_n() -> nn.Module:
    from transformers import (
        RfDetrConfig,
        RfDetrDinov2Config,
        RfDetrForInstanceSegmentation,
    )

    backbone = RfDetrDinov2Config(
        hidden_size=384,
        num_attention_heads=6,
        num_hidden_layers=12,
        image_size=PEERS['transformers:rf_detr_seg_n'].size[0],
        patch_size=12,
        num_windows=1,
        out_indices=[3, 6, 9, 12],
    )
    config = RfDetrConfig(
        backbone_config=backbone,
        num_labels=91,
        num_queries=100,
        decoder_layers=4,
        decoder_n_points=2,
    )
    return RfDetrForInstanceSegmentation(config)


PEERS = {
    'transformers:dfine_n': PeerDetector(
        build=_build_dfine_n, size=(640, 640), outputs=('logits', 'pred_boxes')
    ),
    'transformers:rf_detr_seg_n': PeerDetector(
        build=_build_rf_detr_seg_n,
        size=(312, 312),
        outputs=('logits', 'pred_boxes', 'pred_masks'),
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
    ),
}
