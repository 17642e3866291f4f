"""Fuse a checkpoint: the same model, in fewer tensors, for evaluation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from mmrapidnet.checkpoints.dataset_meta import get_labels, get_meta
from mmrapidnet.checkpoints.fused import RECORD, is_fused_checkpoint
from mmrapidnet.checkpoints.save import check_destination, sha256_of, write_checkpoint
from mmrapidnet.checkpoints.state_dict import read_checkpoint
from mmrapidnet.config.load import load_config
from mmrapidnet.deploy.fuse import fuse
from mmrapidnet.deploy.loading import load_model
from mmrapidnet.utils.errors import UserError
from mmrapidnet.version import __version__

# What the new file takes over: the labels, and where published weights came from.
_KEPT = ('dataset_meta', 'mmrapidnet_conversion')


@dataclass(frozen=True)
class Fusion:
    """What fusing a checkpoint did; the record that the new file carries.

    Attributes:
        source: Name of the file it was made from.
        sha256: That file's hash.
        tensors_before: Number of its tensors.
        tensors: Number of tensors now.
        version: Version of mmrapidnet.
    """

    source: str
    sha256: str
    tensors_before: int
    tensors: int
    version: str

    def __str__(self) -> str:
        return f'{self.source}: {self.tensors_before} tensors fused into {self.tensors}'


def fuse_checkpoint(src: str | Path, dst: str | Path, config: str) -> Fusion:
    """Write the checkpoint of the fused model.

    The new file holds the fused weights, the labels and a record of where they are
    from; optimizer and training state stay behind. It is loaded where a checkpoint
    is tested, used or exported, not where training starts.

    Args:
        src: A checkpoint.
        dst: The file to write: ``.safetensors`` in that format, any other as
            ``torch.save`` does it.
        config: Path of the config of its model.

    Returns:
        What was done.

    Raises:
        UserError: If a file cannot be read or written, is fused already, or does not
            fit the config.
    """
    src, dst = Path(src), Path(dst)
    check_destination(src, dst)
    content = read_checkpoint(str(src))
    if is_fused_checkpoint(content):
        raise UserError(f'{src} is fused already: use it as it is')
    model = load_model(load_config(config), content, str(src))
    before, fused = model.state_dict(), fuse(model).state_dict()
    fusion = Fusion(
        source=src.name,
        sha256=sha256_of(src),
        tensors_before=len(before),
        tensors=len(fused),
        version=__version__,
    )
    get_labels(content, str(src))
    meta = get_meta(content)
    kept = {key: meta[key] for key in _KEPT if key in meta}
    write_checkpoint(dst, fused, {**kept, RECORD: asdict(fusion)})
    return fusion
