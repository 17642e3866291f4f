"""Published checkpoints in our names, with nothing lost on the way."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mmrapidnet.checkpoints.convert.detect import BARE, Kind, choose_weights, find_kind
from mmrapidnet.checkpoints.convert.key_maps import AUTHORS, DENSE_MODELS, TIMM_REPVIT
from mmrapidnet.checkpoints.convert.match import check_model, match
from mmrapidnet.checkpoints.dataset_meta import get_meta, get_old_labels
from mmrapidnet.checkpoints.safe_load.load import load
from mmrapidnet.checkpoints.save import check_destination, sha256_of, write_checkpoint
from mmrapidnet.checkpoints.state_dict import shorten
from mmrapidnet.utils.errors import UserError, sanitize
from mmrapidnet.version import __version__

RECORD = 'mmrapidnet_conversion'
_OURS = re.compile(r'(backbone\.)?stem\.\d\.(conv|norm)\.')


@dataclass(frozen=True)
class Conversion:
    """What a conversion did; the record that the new file carries.

    Attributes:
        source: Name of the published file.
        sha256: Its hash.
        kind: What it was detected to be.
        model: Name of the model, such as 'rapidnet_s'.
        weights: The entry of the file whose weights were taken.
        tensors: The number of tensors, all of which were matched.
        dropped: What else the file held.
        version: Version of mmrapidnet.
    """

    source: str
    sha256: str
    kind: str
    model: str
    weights: str
    tensors: int
    dropped: list[str]
    version: str

    def __str__(self) -> str:
        dropped = f': {", ".join(self.dropped)}' if self.dropped else ''
        return (
            f'{self.source} is a {self.kind}; weights taken from {self.weights}\n'
            f'model: {self.model}\n'
            f'matched {self.tensors} of {self.tensors} tensors; '
            f'dropped {len(self.dropped)} other entries of the file{dropped}'
        )


def convert_checkpoint(
    src: str | Path,
    dst: str | Path,
    model: str | None = None,
    ema: bool | None = None,
    configs: str | Path | None = None,
) -> Conversion:
    """Turn a published checkpoint into one in our names.

    Every tensor of the source is matched or it is an error, and so is every tensor
    of the model. Nothing that the source may hold is executed.

    Args:
        src: The published file: of a classifier of RapidNet, MobileViG or RepViT
            (the authors' or timm's), of a Mask R-CNN (mmdet 2.x) or Semantic FPN
            (mmseg 0.x) with one, or of RepViT-SAM.
        dst: The file to write: ``.safetensors`` in that format, any other as
            ``torch.save`` does it.
        model: The model that is expected, such as 'rapidnet_s'. Defaults to the one
            of the family that fits.
        ema: Whether to take the moving average of the weights. Defaults to None:
            where there is one.
        configs: The folder of the project's configs, for dense models. Defaults to
            that of the installed package.

    Returns:
        What was done.

    Raises:
        UserError: If the file cannot be read, is none of these, has been converted
            before or does not fit, or ``dst`` cannot be written.
    """
    src, dst = Path(src), Path(dst)
    check_destination(src, dst)
    check_model(model)
    content = load(src)
    record = get_meta(content).get(RECORD)
    if isinstance(record, dict):
        raise UserError(
            f'{src} was converted before, from {sanitize(record.get("source"))}: it is '
            "in mmrapidnet's names already; use it as it is"
        )
    entry, weights = choose_weights(content, ema, str(src))
    kind = _detect(weights, src)
    configs = configs or Path(__file__).parents[2] / '.mim' / 'configs'
    model, names = match(kind, weights, model, str(src), configs)

    labels = get_old_labels(content, str(src))
    conversion = Conversion(
        source=src.name,
        sha256=sha256_of(src),
        kind=str(kind),
        model=model,
        weights=entry,
        tensors=len(names),
        dropped=_list_dropped(content, entry, labels),
        version=__version__,
    )
    state = {ours: weights[theirs] for ours, theirs in names.items()}
    meta = {RECORD: asdict(conversion)}
    # Without them the libraries fall back on their own labels.
    if labels:
        meta['dataset_meta'] = labels
    write_checkpoint(dst, state, meta)
    return conversion


def _detect(weights: dict[str, Tensor], src: Path) -> Kind:
    kind = find_kind(weights)
    if kind is None and any(map(_OURS.match, weights)):
        raise UserError(f"{src} is in mmrapidnet's names already; nothing to convert")
    if kind is None:
        titles = [key_map.title for key_map in (*AUTHORS, TIMM_REPVIT)]
        raise UserError(
            f'{src} is not a published checkpoint that can be converted: expected a '
            f'classifier ({", ".join(titles)}) or one of '
            f'{", ".join(method.title for method in DENSE_MODELS)} on such a '
            f'backbone, but found {shorten(weights) or "no weights"}'
        )
    return kind


def _list_dropped(
    content: dict[str, Any], entry: str, labels: dict[str, Any]
) -> list[str]:
    """Name what a file held besides the weights and the labels."""
    meta = get_meta(content)
    others = [
        sanitize(name)
        for name, value in content.items()
        if name != entry
        and not (name == 'meta' and meta)
        and not (entry == BARE and isinstance(value, Tensor))
    ]
    return others + [
        f'meta.{sanitize(k)}' for k in meta if str(k).lower() not in labels
    ]
