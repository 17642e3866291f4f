"""Write down what a teacher sees in images, for students that learn from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, DefaultScope
from rich.progress import track
from torch.utils.data import DataLoader, Subset

from mmrapidnet.config.libraries import require_library
from mmrapidnet.models.sam import DistilledSegmentAnything
from mmrapidnet.models.sam.distilled import SAMTeacher
from mmrapidnet.models.sam.embeddings import (
    RECORD,
    Record,
    embedding_path,
    find_grid,
    read_embedding,
    write_decoder,
    write_embedding,
)
from mmrapidnet.utils.env import find_device
from mmrapidnet.utils.errors import UserError


def embed_images(
    cfg: Config, folder: str, out: str, device: str | None = None
) -> tuple[int, int]:
    """Write the teacher's embedding of each image of a folder, in float16.

    What is whole there is kept, so that an interrupted call goes on when it is
    repeated.

    Args:
        cfg: The config of a `DistilledSegmentAnything`, whose teacher sees the images
            as the training pipeline gives them.
        folder: The images, at any depth.
        out: The folder to write, which mirrors theirs; see
            `mmrapidnet.models.sam.embeddings`.
        device: Such as 'cpu' or 'cuda:0'. Defaults to None: a GPU if there is one.

    Returns:
        How many embeddings were written, and how many were there.

    Raises:
        UserError: If the config is of another model, its teacher has no weights, the
            folder holds no image or one that cannot be read, or ``out`` holds
            embeddings of another teacher or cannot be written.
    """
    _check_config(cfg)
    found = find_device(device)
    place = Path(out)
    dataset = _build_dataset(cfg, folder)
    teacher = SAMTeacher(cfg.model.get('teacher'))
    teacher.apply(lambda tensor: tensor.to(found))
    try:
        _start(place, teacher, cfg.model.teacher.checkpoint)
        missing = [
            index
            for index in range(len(dataset))
            if not _is_whole(place, dataset.get_data_info(index)['img_name'], teacher)
        ]
        _embed(teacher, dataset, missing, place, cfg.train_dataloader.num_workers)
    except OSError as error:
        raise UserError(f'{out} cannot be written: {error}') from error
    return len(missing), len(dataset) - len(missing)


def _check_config(cfg: Config) -> None:
    kind = (cfg.get('model') or {}).get('type')
    if kind != DistilledSegmentAnything.__name__:
        raise UserError(
            f'{cfg.filename} is the config of a {kind}: give one of a '
            'DistilledSegmentAnything, such as configs/sam_repvit_m0_9_distill.py'
        )


def _build_dataset(cfg: Config, folder: str) -> Any:
    pipeline = cfg.train_dataloader.dataset.pipeline
    with DefaultScope.overwrite_default_scope(require_library(cfg)):
        return DATASETS.build(
            dict(type='ImageFolder', data_root=folder, pipeline=pipeline)
        )


def _start(out: Path, teacher: SAMTeacher, checkpoint: str) -> None:
    """Say in the folder of which teacher its embeddings are."""
    record = Record.of(teacher.model, checkpoint)
    if not (out / RECORD).exists():
        write_decoder(out, teacher.model)
        # Last, so that a folder with a record is one to learn from.
        record.write(out)
    elif Record.read(out) != record:
        raise UserError(
            f'{out} holds embeddings of another teacher or image size than '
            f'{checkpoint} with {record.image_size} pixels: give another --out'
        )


def _is_whole(out: Path, name: str, teacher: SAMTeacher) -> bool:
    embedding = read_embedding(embedding_path(out, name))
    return embedding is not None and len(embedding) == teacher.channels


def _embed(
    teacher: SAMTeacher, dataset: Any, missing: list[int], out: Path, workers: int
) -> None:
    # One at a time, so that no embedding depends on its neighbours.
    loader = DataLoader(
        Subset(dataset, missing), num_workers=workers, collate_fn=pseudo_collate
    )
    for data in track(loader, 'Images', total=len(missing)):
        data = teacher.model.data_preprocessor(data)
        (sample,) = data['data_samples']
        (embedding,) = teacher(data['inputs'], data['data_samples'])
        height, width = find_grid(sample)
        path = embedding_path(out, sample.img_name)
        write_embedding(path, embedding[:, :height, :width])
