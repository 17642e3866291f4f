"""What models reach on data sets, each figure with where it comes from.

Published figures are read from ``configs/published.yml``, measured ones from
``results.yml``; there is no third kind.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mmrapidnet.utils.errors import UserError, sanitize

_HEADER = """\
# What was measured here, one entry per checkpoint: made by dev/reproduce.py, read by
# dev/model_cards.py.
"""


@dataclass(frozen=True)
class Metric:
    """A figure of a data set.

    Attributes:
        name: What OpenMMLab's model indices call it, such as 'box AP'.
        task: What they call its task.
        key: Its key in a ``metrics.json``.
        scale: What turns the value there into percent.
    """

    name: str
    task: str
    key: str
    scale: float = 1.0


@dataclass(frozen=True)
class Benchmark:
    """A data set that models are compared on.

    Attributes:
        title: What OpenMMLab's model indices call it.
        task: What its models do, for a heading.
        images: Number of images in its validation set.
        metrics: Its figures.
        method: What its models are, where the title alone does not tell them from
            others. Defaults to none.
        zero_shot: Whether its models were trained on other data. Defaults to False.
        image_size: Height and width of the image that their multiply-accumulates are
            counted on. Defaults to None: they are not, as they depend on what is found
            or were never a matter.
        compares_backbones: Whether backbones are compared by it, side by side.
            Defaults to True.
    """

    title: str
    task: str
    images: int
    metrics: tuple[Metric, ...]
    method: str = ''
    zero_shot: bool = False
    image_size: tuple[int, int] | None = None
    compares_backbones: bool = True

    @property
    def label(self) -> str:
        """Its title, and the method if it has one."""
        return f'{self.method}, {self.title}' if self.method else self.title


_BOX_AP = Metric('box AP', 'Object Detection', 'coco/bbox_mAP', 100.0)
_MASK_AP = Metric('mask AP', 'Instance Segmentation', 'coco/segm_mAP', 100.0)
_MIOU = Metric('mIoU', 'Semantic Segmentation', 'mIoU')
# By the first and the last part of a config's name, the parts between are the backbone.
# Classifiers have no first one.
BENCHMARKS = {
    'in1k': Benchmark(
        title='ImageNet-1k',
        task='Classification on ImageNet-1k',
        images=50000,
        metrics=(Metric('Top 1 Accuracy', 'Image Classification', 'accuracy/top1'),),
        image_size=(224, 224),
    ),
    'maskrcnn_coco': Benchmark(
        title='COCO',
        task='Mask R-CNN on COCO 2017',
        images=5000,
        metrics=(_BOX_AP, _MASK_AP),
    ),
    'rtmdet_ins_coco': Benchmark(
        title='COCO',
        task='RTMDet-Ins on COCO 2017',
        images=5000,
        metrics=(_BOX_AP, _MASK_AP),
        method='RTMDet-Ins',
        image_size=(640, 640),
        compares_backbones=False,
    ),
    'sam_coco': Benchmark(
        title='COCO',
        task="Segment anything in a detector's boxes on COCO 2017",
        images=5000,
        metrics=(_MASK_AP,),
        method='SAM',
        zero_shot=True,
    ),
    'semfpn_ade20k': Benchmark(
        title='ADE20K',
        task='Semantic FPN on ADE20K',
        images=2000,
        metrics=(_MIOU,),
    ),
    'semfpn_lite_ade20k': Benchmark(
        title='ADE20K',
        task='Semantic FPN with a light decoder on ADE20K',
        images=2000,
        metrics=(_MIOU,),
        method='light Semantic FPN',
        image_size=(512, 512),
        compares_backbones=False,
    ),
}


@dataclass(frozen=True)
class Family:
    """A family of backbones, a collection of the model index.

    Attributes:
        title: Title of its paper.
        paper: Address of the paper.
        code: Address of the code it was published with.
        architecture: What it is made of.
    """

    title: str
    paper: str
    code: str
    architecture: list[str]


@dataclass(frozen=True)
class PublishedRun:
    """What is published of a training run: figures, a checkpoint, or both.

    Attributes:
        setting: What tells it from the model's other runs, if there are any.
        figures: Name of a metric to its value in percent.
        latency: Device to milliseconds an image.
        source: Where the figures stand.
        file: Name of the checkpoint, if it is known.
        where: Address of the checkpoint or of the page that lists it; None without
            a checkpoint.
    """

    setting: str | None = None
    figures: dict[str, float] = field(default_factory=dict)
    latency: dict[str, float] = field(default_factory=dict)
    source: str | None = None
    file: str | None = None
    where: str | None = None


@dataclass(frozen=True, kw_only=True)
class Peer(PublishedRun):
    """What is published of a model that has no config here, only to compare with.

    Attributes:
        family: Its family.
        label: What tells it from its family.
        benchmark: Key of `BENCHMARKS` that its figures are of. Defaults to 'in1k'.
    """

    family: str
    label: str
    benchmark: str = 'in1k'


@dataclass(frozen=True)
class Published:
    """What is published.

    Attributes:
        families: By the type of the backbone, in the order of the model cards.
        models: By the name of a config.
        peers: By the name that the benchmark has for a model.
    """

    families: dict[str, Family]
    models: dict[str, list[PublishedRun]]
    peers: dict[str, Peer]


@dataclass(frozen=True)
class Result:
    """What was measured with a checkpoint.

    Attributes:
        model: Name of the config.
        checkpoint: Name of the published file.
        sha256: Its digest.
        setting: What tells its run from the model's other published ones.
        figures: Name of a metric to its value in percent.
        images: Number of images it was tested on.
        seconds_per_image: What a test took for an image.
        command: How it was measured.
        machine: What it was measured on.
        versions: Package to version.
        date: Day it was measured.
    """

    model: str
    checkpoint: str
    sha256: str
    setting: str | None
    figures: dict[str, float]
    images: int
    seconds_per_image: float
    command: str
    machine: str
    versions: dict[str, str]
    date: str


def find_benchmark(name: str) -> Benchmark | None:
    """Find the method and the data set that a config's name tells of.

    Args:
        name: Name of a config, without ``.py``.

    Returns:
        The benchmark, None if its models are not compared.

    Examples:
        >>> find_benchmark('maskrcnn_rapidnet_s_coco').title
        'COCO'
        >>> find_benchmark('retinanet_rapidnet_s_coco')
    """
    found = [key for key in BENCHMARKS if _is_of(key, name)]
    return BENCHMARKS[max(found, key=len)] if found else None


def _is_of(key: str, name: str) -> bool:
    method, _, data_set = key.rpartition('_')
    return name.startswith(method) and name.endswith(f'_{data_set}')


def read_published(path: str | Path) -> Published:
    """Read what is published.

    Args:
        path: The YAML file.

    Returns:
        Its content.

    Raises:
        UserError: If there is no such file, an entry says something unknown, or a
            figure has no source.
    """
    if not Path(path).is_file():
        raise UserError(f'there is no {path}, which holds the published figures')
    content = _read_yaml(path)
    families = {
        kind: _read_entry(Family, entry, f'{path}, {kind}')
        for kind, entry in content['families'].items()
    }
    models = {}
    for name, entries in content['models'].items():
        where = f'{path}, {name}'
        models[name] = [_read_entry(PublishedRun, entry, where) for entry in entries]
        for run in models[name]:
            _check_run(find_benchmark(name), run, where)
    peers = {}
    for name, entry in content.get('peers', {}).items():
        where = f'{path}, {name}'
        peers[name] = _read_entry(Peer, entry, where)
        _check_run(BENCHMARKS.get(peers[name].benchmark), peers[name], where)
    return Published(families, models, peers)


def read_results(path: str | Path) -> list[Result]:
    """Read what was measured.

    Args:
        path: The results file; there need not be one.

    Returns:
        The results, in the file's order.

    Raises:
        UserError: If an entry is not as `add_result` writes it.
    """
    path = Path(path)
    if not path.is_file():
        return []
    content = _read_yaml(path) or []
    if not isinstance(content, list):
        raise UserError(f'{path} is no list of results')
    results = [_read_entry(Result, entry, str(path)) for entry in content]
    for result in results:
        benchmark = find_benchmark(result.model)
        _check_figures(benchmark, result.figures, f'{path}, {result.model}')
    return results


def _read_yaml(path: str | Path) -> Any:
    try:
        return yaml.safe_load(Path(path).read_text(encoding='utf-8'))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f'{path} is not YAML: {sanitize(error)}') from error


def add_result(result: Result, path: str | Path) -> None:
    """Write a result into the results file, in the place of an earlier one.

    Args:
        result: What was measured; it replaces what the file says of the same
            checkpoint of the same model.
        path: The results file, made if there is none.
    """
    results = [
        other
        for other in read_results(path)
        if (other.model, other.sha256) != (result.model, result.sha256)
    ]
    results = sorted([*results, result], key=lambda r: (r.model, r.checkpoint))
    text = yaml.safe_dump(
        [asdict(entry) for entry in results], sort_keys=False, width=88
    )
    Path(path).write_text(_HEADER + text, encoding='utf-8')


def _read_entry(kind: type, entry: dict[str, Any], where: str) -> Any:
    try:
        return kind(**entry)
    except TypeError as error:
        raise UserError(f'{where}: an entry does not fit: {error}') from error


def _check_run(benchmark: Benchmark | None, run: PublishedRun, where: str) -> None:
    _check_figures(benchmark, run.figures, where)
    if (run.figures or run.latency) and not run.source:
        raise UserError(
            f'{where}: a figure without a source; name the place it was read in'
        )


def _check_figures(
    benchmark: Benchmark | None, figures: Iterable[str], where: str
) -> None:
    known = [metric.name for metric in benchmark.metrics] if benchmark else []
    unknown = sorted(set(figures) - set(known))
    if unknown:
        raise UserError(
            f'{where}: there is no figure {", ".join(unknown)} of this model; it has '
            f'{", ".join(known) or "none"}'
        )
