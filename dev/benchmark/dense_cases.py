"""Whole detectors and segmenters: from an image file to final masks or label maps."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from dev.benchmark.cases import Case, find_runtimes
from dev.benchmark.peers import randomize_norms
from dev.benchmark.runtimes import call_in_torch, compile_parts, place
from dev.model_zoo.classifiers import Complexity
from mmrapidnet.apis.complexity import count_macs, count_parameters
from mmrapidnet.apis.latency import Call
from mmrapidnet.checkpoints.state_dict import read_checkpoint
from mmrapidnet.config.libraries import require_library
from mmrapidnet.config.load import iter_datasets, load_config
from mmrapidnet.datasets.shapes import draw_scene
from mmrapidnet.deploy.formats import check_supported, load_format
from mmrapidnet.deploy.fuse import fuse
from mmrapidnet.deploy.graphs import build_graph
from mmrapidnet.deploy.inference import ExportedModel, read_settings
from mmrapidnet.deploy.loading import build_model, load_model
from mmrapidnet.deploy.metadata import describe
from mmrapidnet.deploy.preprocess import (
    CalibrationImages,
    Pipeline,
    build_pipeline,
    build_reader,
    check_image,
    find_calibration_images,
)
from mmrapidnet.utils.errors import UserError


@dataclass(frozen=True)
class ConfiguredModel:
    """A config and what else makes its model what it is.

    Attributes:
        config: Path of the config.
        checkpoint: Path of its weights; None for random ones.
        resize: Height and width that images are stretched to; None for what the
            config's test pipeline does.
        options: Settings to override, by dotted name. Defaults to none.
    """

    config: str
    checkpoint: str | None = None
    resize: tuple[int, int] | None = None
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """The config's name."""
        return Path(self.config).stem

    def read(self) -> Config:
        """Read the config, adapted.

        Returns:
            The config of a detector with masks or of a segmenter.

        Raises:
            UserError: If it is of another kind or its library is not installed.
        """
        cfg = load_config(self.config, dict(self.options))
        if require_library(cfg) not in ('mmdet', 'mmseg'):
            raise UserError(
                f'{self.config} is of {cfg.default_scope}: give the config of a '
                'detector or a segmenter; classifiers are measured by name'
            )
        if self.resize:
            _stretch_images(cfg, self.resize)
        return cfg

    def build(self) -> nn.Module:
        """Build the model in evaluation mode, as it comes out of training.

        Returns:
            The model, with the checkpoint's weights, or random ones and random
            statistics in its batch normalisations.

        Raises:
            UserError: If the checkpoint cannot be read or does not fit.
        """
        cfg = self.read()
        if self.checkpoint:
            content = read_checkpoint(self.checkpoint)
            model = load_model(cfg, content, self.checkpoint)
        else:
            model = randomize_norms(build_model(cfg))
        return revert_sync_batchnorm(model).eval()


@dataclass(frozen=True)
class DenseCase(Case):
    """From an image file to final masks or a label map, as the libraries infer.

    The file is read, goes through the config's test pipeline, the model and the
    library's post-processing; an exported file replaces the last two.

    Attributes:
        source: The model's config and weights.
        image: The image file.
    """

    source: ConfiguredModel
    image: str

    task: ClassVar[str] = 'image file to result'

    def _open(self) -> Call:
        cv2.setNumThreads(self.threads)
        cfg = self.source.read()
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            prepare = build_pipeline(cfg)
        if self.runtime.format:
            return self._open_file(cfg, prepare)

        model = self._build()

        def infer() -> Any:
            data = prepare(dict(img_path=self.image, img_id=0))
            batch = {key: [value] for key, value in data.items()}
            return model.test_step(batch)[0]

        return call_in_torch(infer, self.runtime, self.device)

    def complexity(self) -> Complexity:
        """Count the model's parameters, of a segmenter also multiply-accumulates.

        How much a detector computes depends on what it finds.
        """
        model = self.source.build()
        is_segmenter = hasattr(model, 'decode_head')
        macs = count_macs(_Forward(model), self.size) if is_segmenter else None
        return Complexity(count_parameters(model), macs)

    def describe(self, result: Any) -> dict[str, Any]:
        """Say how much a detector found, which its latency depends on."""
        if isinstance(result, dict):
            return {'detections': len(result['boxes'])} if 'boxes' in result else {}
        found = result.get('pred_instances')
        return {} if found is None else {'detections': len(found)}

    def _build(self) -> nn.Module:
        model = self.source.build()
        if self.runtime.fused:
            model = fuse(model)
        model = place(model, self.runtime, self.device)
        return compile_parts(model, self.runtime, self.device)

    def _open_file(self, cfg: Config, prepare: Pipeline) -> Call:
        format_ = load_format(self.runtime.format)
        size = read_size(prepare, self.image)
        path = self._exported(format_.SUFFIX)
        if not path.exists():
            self._export(format_, cfg, path, size)
        model = ExportedModel(path, threads=self.threads, size=size)

        def infer() -> dict[str, np.ndarray]:
            data = prepare(dict(img_path=self.image, img_id=0))
            image = data['inputs'].permute(1, 2, 0).numpy()
            sample = data['data_samples']
            return model.predict(image, sample.ori_shape[:2], sample.scale_factor)

        return infer

    def _export(
        self, format_: ModuleType, cfg: Config, path: Path, size: tuple[int, int]
    ) -> None:
        """Write the file, whatever it finds: random weights may find nothing."""
        precision = self.runtime.precision
        model = fuse(self.source.build())
        graph = build_graph(model)
        check_supported(format_, graph.kind, precision)
        metadata = describe(cfg, graph, precision, self.source.checkpoint, size)
        metadata['settings'] = read_settings(model, graph)
        calibration = None
        if precision == 'int8':
            with DefaultScope.overwrite_default_scope(cfg.default_scope):
                read = build_reader(cfg, size)
                calibration = CalibrationImages(find_calibration_images(cfg), read)
        path.parent.mkdir(parents=True, exist_ok=True)
        format_.write(graph, torch.zeros(1, 3, *size), path, metadata, calibration)


def list_dense(
    source: ConfiguredModel,
    runtimes: Sequence[str],
    image: str | Path,
    device: str,
    threads: int,
    folder: str,
) -> list[Case]:
    """List a detector or a segmenter in every runtime.

    Args:
        source: The config and the weights.
        runtimes: Names of runtimes.
        image: The image file.
        device: 'cpu' or 'cuda'.
        threads: Number of threads on the CPU.
        folder: Where exported files go.

    Returns:
        The cases, which are measured in turns.

    Raises:
        UserError: If there is no such image, config or checkpoint, or a runtime is
            not known here.
    """
    found = find_runtimes(runtimes, device, threads)
    check_image(image)
    if source.checkpoint:
        read_checkpoint(source.checkpoint)
    size = _network_size(source.read(), str(image))
    return [
        DenseCase(
            model=source.name,
            runtime=runtime,
            size=size,
            batch=1,
            device=device,
            threads=threads,
            folder=folder,
            source=source,
            image=str(image),
        )
        for runtime in found
    ]


def draw_example(folder: str | Path, size: tuple[int, int] = (427, 640)) -> Path:
    """Draw a picture with objects on it, for want of a photograph.

    Args:
        folder: Where the file goes.
        size: Its height and width in pixels. Defaults to (427, 640), as is common in
            COCO.

    Returns:
        The file.
    """
    height, width = size
    scene = draw_scene(max(size), np.random.default_rng(1))
    path = Path(folder) / f'example_{height}x{width}.png'
    cv2.imwrite(str(path), scene.image[:height, :width, ::-1])
    return path


def read_size(prepare: Pipeline, image: str) -> tuple[int, int]:
    """Height and width of an image after the pipeline."""
    data = prepare(dict(img_path=image, img_id=0))
    return tuple(data['inputs'].shape[1:])


def _network_size(cfg: Config, image: str) -> tuple[int, int]:
    """Height and width that the network sees: padded to the preprocessor's divisor."""
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        size = read_size(build_pipeline(cfg), image)
    divisor = 1
    if cfg.default_scope == 'mmdet':
        preprocessor = cfg.model.get('data_preprocessor') or {}
        divisor = preprocessor.get('pad_size_divisor', 1)
    return tuple(-(-edge // divisor) * divisor for edge in size)


def _stretch_images(cfg: Config, size: tuple[int, int]) -> None:
    """Let the test pipeline make all images one size, in place."""
    for dataset in iter_datasets(cfg.test_dataloader):
        kept = [t for t in dataset['pipeline'] if 'Resize' not in t['type']]
        resize = dict(type='Resize', scale=size[::-1], keep_ratio=False)
        # After reading the file.
        dataset['pipeline'] = [kept[0], resize, *deepcopy(kept[1:])]


class _Forward(nn.Module):
    """A segmenter as a plain function of normalised images."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Any:
        return self.model(image, mode='tensor')
