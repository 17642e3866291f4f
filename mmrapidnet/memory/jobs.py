"""What is watched: inference over many images, a long training, many workers."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mmrapidnet.analysis.machine import list_versions, processor_name
from mmrapidnet.data.folder import save
from mmrapidnet.data.scene import draw_scene
from mmrapidnet.errors import UserError
from mmrapidnet.memory.curve import MIB, Curve, draw
from mmrapidnet.memory.watch import watch
from mmrapidnet.steps import say, say_command, shown

# Of the images, in pixels.
SIZES = (96, 640)
# So long that the time alone ends it.
_ENDLESS = 10**9
_SCENES = 20


def watch_inference(
    repo: Path, config: str, checkpoint: str, out: Path, images: int
) -> Curve:
    """Draw predictions on images of varying sizes with ``tools/infer.py``.

    Args:
        repo: The repository, with ``tools/``.
        config: The config of a detector or a segmenter.
        checkpoint: Its weights, or a file exported from them.
        out: Folder for the images, the pictures and the record.
        images: How many.

    Returns:
        The curve.

    Raises:
        UserError: If there are too few images, the tool fails or memory grows.
    """
    if images < 1:
        raise UserError(f'--images {images}: give at least 1')
    folder = out / f'images_{images}'
    write_images(folder, images)
    command = _tool(repo, 'infer.py', folder, '--config', config)
    command += ['--checkpoint', checkpoint, '--out', str(out / 'drawn')]
    return _record(f'inference, {images} images', command, out / 'inference')


def watch_training(
    repo: Path, config: str, out: Path, minutes: float, options: Sequence[str] = ()
) -> Curve:
    """Train for a time with ``tools/train.py``, validation and checkpoints included.

    Args:
        repo: The repository, with ``tools/``.
        config: A config that counts iterations.
        out: Folder for the run and the record.
        minutes: How long.
        options: What else the tool is called with.

    Returns:
        The curve.

    Raises:
        UserError: If the time is none, the tool fails or memory grows.
    """
    if minutes <= 0:
        raise UserError(f'--minutes {minutes:g}: give a time above 0')
    command = _tool(repo, 'train.py', config, '--work-dir', out / 'run', *options)
    command += ['--cfg-options', f'train_cfg.max_iters={_ENDLESS}']
    name = f'training, {minutes:g} minutes'
    return _record(name, command, out / 'training', 60 * minutes)


def watch_workers(
    repo: Path,
    config: str,
    root: Path,
    out: Path,
    annotations: int,
    workers: Sequence[int] = (1, 2, 4),
    seconds: float = 90,
) -> dict[int, Curve]:
    """Train on a large annotation file with more and more data workers.

    Args:
        repo: The repository, with ``tools/``.
        config: The config of a detector on Shapes.
        root: Shapes in COCO's layout.
        out: Folder for the annotations, the runs and the record.
        annotations: How many objects the file is to list.
        workers: Numbers of workers. Defaults to 1, 2 and 4.
        seconds: How long each is watched. Defaults to 90.

    Returns:
        Number of workers to curve.

    Raises:
        UserError: If the tool fails.
    """
    path = write_annotations(root, out / 'annotations.json', annotations)
    curves = {}
    for count in workers:
        say(f'{count} workers')
        options = (
            f'train_cfg.max_iters={_ENDLESS}',
            f'train_cfg.val_interval={_ENDLESS}',
            f'train_dataloader.num_workers={count}',
            f'train_dataloader.dataset.ann_file={path.resolve()}',
        )
        command = _tool(repo, 'train.py', config, '--data-root', root)
        command += ['--work-dir', str(out / 'run'), '--cfg-options', *options]
        curves[count] = watch(command, out / f'workers_{count}.log', seconds)
        say(f'  {curves[count].describe()}')
    record = dict(
        annotations=annotations,
        annotation_bytes=path.stat().st_size,
        level_mib={count: curve.level / MIB for count, curve in curves.items()},
        processor=processor_name(),
        versions=list_versions(),
    )
    (out / 'workers.json').write_text(json.dumps(record, indent=2) + '\n')
    return curves


def write_images(folder: Path, count: int, seed: int = 0) -> None:
    """Write images of varying sizes, unless they are there.

    Args:
        folder: Where they go.
        count: How many.
        seed: Of sizes and scenes. Defaults to 0.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if len(list(folder.iterdir())) == count:
        return
    rng = np.random.default_rng(seed)
    scenes = [draw_scene(SIZES[1], rng).image for _ in range(min(count, _SCENES))]
    for index in range(count):
        width, height = rng.integers(SIZES[0], SIZES[1] + 1, 2).tolist()
        image = cv2.resize(scenes[index % len(scenes)], (width, height))
        save(image, folder / f'{index:06d}.jpg')


def write_annotations(root: Path, path: Path, count: int) -> Path:
    """Write a large annotation file of few images, each listed many times.

    Args:
        root: Shapes in COCO's layout.
        path: The file.
        count: The least number of objects in it.

    Returns:
        The file.
    """
    source = root / 'annotations' / 'instances_train2017.json'
    content = json.loads(source.read_text())
    images, objects = content['images'], content['annotations']
    rounds = -(-count // len(objects))
    step = max(image['id'] for image in images) + 1
    content['images'] = [
        {**image, 'id': image['id'] + turn * step}
        for turn in range(rounds)
        for image in images
    ]
    content['annotations'] = [
        {**item, 'id': number, 'image_id': item['image_id'] + turn * step}
        for number, (turn, item) in enumerate(
            ((turn, item) for turn in range(rounds) for item in objects), 1
        )
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def _tool(repo: Path, name: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, str(repo / 'tools' / name), *map(str, arguments)]


def _record(
    name: str, command: list[str], path: Path, seconds: float | None = None
) -> Curve:
    """Watch a command, write and draw its curve, and hold it to be flat."""
    path.parent.mkdir(parents=True, exist_ok=True)
    say_command(command)
    curve = watch(command, path.with_suffix('.log'), seconds)
    record = dict(
        name=name,
        seconds=curve.times,
        main_bytes=curve.main,
        worker_bytes=curve.workers,
        level_mib=curve.level / MIB,
        growth_mib=curve.growth / MIB,
        processor=processor_name(),
        versions=list_versions(),
    )
    path.with_suffix('.json').write_text(json.dumps(record) + '\n')
    draw({name: curve}, path.with_suffix('.png'))
    say(f'{name}: {curve.describe()}; written to {shown(path)}.{{json,png}}')
    if not curve.flat:
        raise UserError(f'{name}: memory grows: {curve.describe()}')
    return curve
