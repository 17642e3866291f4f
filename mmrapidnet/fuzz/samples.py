"""Good files to start from, made by the tools themselves of a very small model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmrapidnet.errors import UserError
from mmrapidnet.fuzz.forked import run_forked

CONFIG = """_base_ = {base!r}
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    backbone=dict(
        arch=dict(
            _delete_=True,
            channels=(8, 16, 24, 32),
            local_blocks=(1, 1, 1, 1),
            global_blocks=(0, 0, 1, 1),
        )
    ),
    neck=dict(in_channels=[8, 16, 24, 32], out_channels=16),
    decode_head=dict(in_channels=[16] * 4, channels=16),
)
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = dict(num_workers=0, persistent_workers=False)
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2))
"""
# Of formats, with what lies beside the file.
EXPORTED = {
    'onnx': ('model.onnx',),
    'openvino': ('model.xml', 'model.bin'),
    'ncnn': ('model.ncnn.param', 'model.ncnn.bin', 'model.ncnn.json'),
}
_TIMEOUT = 300


@dataclass(frozen=True)
class Samples:
    """Good files.

    Attributes:
        files: By kind: 'config', 'checkpoint', 'fused', 'safetensors', 'image',
            'results' and, where they were asked for, the formats; each with the
            files that lie beside it.
        data: The data set of the config.
    """

    files: dict[str, tuple[Path, ...]]
    data: Path


def make_samples(repo: Path, folder: Path, exported: bool = True) -> Samples:
    """Make them.

    Args:
        repo: The repository.
        folder: Where they go.
        exported: Whether to make exported files, which takes a minute.

    Returns:
        The files.

    Raises:
        UserError: If a tool fails.
    """
    config = folder / 'tiny.py'
    base = repo / 'configs' / 'semfpn_rapidnet_ti_shapes.py'
    config.write_text(CONFIG.format(base=str(base)))
    data = folder / 'shapes' / 'ade'

    def run(tool: str, *arguments: str | Path) -> None:
        script = repo / 'tools' / tool
        done = run_forked(script, [str(a) for a in arguments], folder, _TIMEOUT)
        if done.status != 0:
            last = done.output.strip().rpartition('\n')[2]
            raise UserError(f'no file to start from, {tool} failed: {last}')

    small = ('--train', '2', '--val', '1', '--size', '64')
    run('make_shapes.py', folder / 'shapes', *small)
    run('train.py', config, '--data-root', data, '--work-dir', folder / 'run')
    checkpoint = folder / 'run' / 'iter_2.pth'
    fused, safetensors = folder / 'fused.pth', folder / 'fused.safetensors'
    run('fuse.py', checkpoint, fused)
    run('fuse.py', checkpoint, safetensors, '--config', config)
    results = folder / 'benchmark.json'
    results.write_text('{"sections": []}')
    image = next((data / 'images' / 'validation').iterdir())
    files = {
        'config': (config,),
        'checkpoint': (checkpoint,),
        'fused': (fused,),
        'safetensors': (safetensors,),
        'image': (image,),
        'results': (results,),
    }
    for name, parts in EXPORTED.items() if exported else ():
        out = folder / parts[0]
        run('export.py', config, checkpoint, '--data-root', data, '--format', name,
            '--out', out, '--size', '64', '64')  # fmt: skip
        files[name] = tuple(folder / part for part in parts)
    return Samples(files, data)
