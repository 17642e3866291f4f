"""The latency of image encoders: RepViT-SAM's, MobileSAM's and SAM's own."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from dev.benchmark.peers import randomize_norms
from dev.model_zoo.markdown import make_table
from mmrapidnet.apis.latency import Call, IsolatedCall, interleave
from mmrapidnet.deploy.formats import load_format
from mmrapidnet.deploy.fuse import fuse
from mmrapidnet.deploy.graphs import Graph
from mmrapidnet.deploy.isolated import IsolatedSession
from mmrapidnet.deploy.metadata import describe
from mmrapidnet.models import SAMNeck

# Runtimes by their names: format and precision.
RUNTIMES = {
    'ONNX Runtime': ('onnx', 'fp32'),
    'OpenVINO': ('openvino', 'fp32'),
    'OpenVINO bf16': ('openvino', 'bf16'),
}


class Encoder(nn.Module):
    """Modules one after another, which give an embedding.

    Args:
        *modules: The modules.
    """

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """From normalised images (N, 3, S, S) to their embeddings."""
        for module in self.parts:
            image = module(image)
        return (image,)


def build_encoders(model: dict[str, Any]) -> dict[str, nn.Module]:
    """Build the encoders with random weights, ours reparameterised.

    Args:
        model: The config of a `SegmentAnything`.

    Returns:
        The encoders by their names.
    """
    ours = fuse(randomize_norms(MODELS.build(model)).eval())
    return {
        'RepViT-SAM': Encoder(ours.backbone, ours.neck),
        'MobileSAM (TinyViT)': _build_tiny_vit(),
        'SAM (ViT-B)': Encoder(_build_vit_b(model['image_size'])),
    }


def _build_tiny_vit() -> Encoder:
    """As MobileSAM has it, whose last stage keeps the stride of 16."""
    import timm

    vit = timm.create_model('tiny_vit_5m_224', num_classes=0)
    vit.stages[3].downsample.conv2.conv.stride = (1, 1)
    neck = SAMNeck(in_channels=[vit.num_features])
    return Encoder(vit.patch_embed, vit.stages, _ToList(), neck)


class _ToList(nn.Module):
    def forward(self, x: Tensor) -> list[Tensor]:
        return [x]


def _build_vit_b(image_size: int) -> nn.Module:
    """As ``segment_anything.build_sam_vit_b`` builds it, for another size, too."""
    from segment_anything import modeling

    return modeling.ImageEncoderViT(
        img_size=image_size,
        depth=12,
        embed_dim=768,
        num_heads=12,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        global_attn_indexes=(2, 5, 8, 11),
        window_size=14,
        out_chans=256,
    )


@torch.no_grad()
def measure_encoders(encoders: Mapping[str, nn.Module], size: int, rounds: int) -> str:
    """Time each encoder in PyTorch and in every runtime, all in turns.

    Args:
        encoders: By their names.
        size: Height and width of the image.
        rounds: How often each is timed.

    Returns:
        A table in Markdown: seconds of one image, medians.
    """
    image = torch.randn(1, 3, size, size)
    calls: dict[str, Call | IsolatedCall] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, encoder in encoders.items():
            encoder.eval()
            calls[f'{name}/eager'] = partial(encoder, image)
            for runtime in RUNTIMES:
                path = Path(folder) / f'{len(calls)}'
                session = _open(encoder, runtime, path, image)
                calls[f'{name}/{runtime}'] = IsolatedCall(session, image.numpy())
        timings = interleave(calls, rounds, warm_up=1).timings
    columns = ('eager', *RUNTIMES)
    rows = [
        (name, *(f'{timings[f"{name}/{column}"].median:.3f}' for column in columns))
        for name in encoders
    ]
    return make_table((f'encoder at {size}', *columns), rows)


def _open(
    encoder: nn.Module, runtime: str, path: Path, image: Tensor
) -> IsolatedSession:
    format_name, precision = RUNTIMES[runtime]
    writer = load_format(format_name)
    path = path.with_name(path.name + writer.SUFFIX)
    graph = Graph('encoder', encoder, ('embedding',), 'encoder')
    metadata = describe(None, graph, precision, size=image.shape[2:])
    writer.write(graph, image, path, metadata)
    return IsolatedSession(path, threads=torch.get_num_threads())
