"""A teacher's embeddings on disk, and encoders that learn from them."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from helpers import tiny_distillation, tiny_sam
from helpers.commands import assert_one_line_error
from helpers.tool_server import fork_tool
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, DefaultScope

from mmrapidnet.apis.embed_images import embed_images
from mmrapidnet.datasets.check.precheck import check_datasets
from mmrapidnet.models.sam.embeddings import StoredEmbeddings
from mmrapidnet.utils.errors import UserError

# Rows and columns of 16 pixels in 128 of the longest side.
GRIDS = {
    '0.png': (5, 8),
    '2.png': (8, 8),
    'sub/1.png': (8, 4),
    'sub/3.png': (6, 8),
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """With a config, images and a teacher; and `embeddings`, which are written once."""
    folder = tmp_path_factory.mktemp('distillation')
    cfg = tiny_distillation.load(folder)
    done = embed_images(cfg, str(folder / 'images'), str(folder / 'embeddings'), 'cpu')
    assert done == (4, 0)
    return folder


@pytest.fixture
def stored(folder, tmp_path):
    """A copy of the embeddings, to be spoiled."""
    return shutil.copytree(folder / 'embeddings', tmp_path / 'embeddings')


def load_batch(cfg):
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
    return pseudo_collate([dataset[index] for index in range(len(dataset))])


def build(cfg, **options):
    torch.manual_seed(0)
    model = MODELS.build({**cfg.model, **options})
    model.init_weights()
    return model.eval()


def embed(folder, out, **options):
    cfg = tiny_distillation.load(folder, **options)
    return embed_images(cfg, str(folder / 'images'), str(out), 'cpu')


def test_files_hold_what_the_teacher_gives(folder):
    cfg, teacher = tiny_distillation.load(folder), tiny_sam.build()
    data = teacher.data_preprocessor(load_batch(cfg))
    with torch.no_grad():
        expected = teacher(data['inputs'])
    found = sorted((folder / 'embeddings').rglob('*.npy'))
    names = [str(p.relative_to(folder / 'embeddings')) for p in found]
    assert names == [f'{name}.npy' for name in GRIDS]
    for path, (height, width), wanted in zip(found, GRIDS.values(), expected):
        embedding = np.load(path)
        assert (embedding.dtype, embedding.shape) == (np.float16, (256, height, width))
        # Half a unit in the last of 11 binary digits, and the rounding of a batch.
        wanted = wanted[:, :height, :width].numpy()
        np.testing.assert_allclose(embedding, wanted, rtol=2**-11, atol=1e-4)


def test_they_teach_as_the_teacher_does(folder):
    cfg = tiny_distillation.load(folder)
    data = load_batch(cfg)
    losses, gradients = [], []
    for options in (
        dict(),
        dict(embeddings=str(folder / 'embeddings'), teacher=None),
        dict(embeddings=str(folder / 'embeddings')),
    ):
        model = build(cfg, **options)
        assert isinstance(model.teacher, StoredEmbeddings) == bool(options)
        loss = model(**model.data_preprocessor(data), mode='loss')['loss_distill']
        loss.backward()
        losses.append(loss.item())
        gradients.append(model.neck.conv.weight.grad)
    assert losses[1:] == pytest.approx(losses[:1] * 2, rel=1e-3)
    scale = gradients[0].abs().max()
    assert (gradients[1] - gradients[0]).abs().max() < 1e-3 * scale
    # Prompt encoder and mask decoder are the teacher's.
    taught = tiny_sam.build().state_dict()
    for name, value in model.state_dict().items():
        if name.startswith(('prompt_encoder.', 'mask_decoder.')):
            assert torch.equal(value, taught[name])


def test_an_interrupted_call_goes_on(folder, stored):
    whole, lost, torn, other = (stored / f'{name}.npy' for name in GRIDS)
    expected = {path: path.read_bytes() for path in (lost, torn, other)}
    os.utime(whole, (0, 0))
    lost.unlink()
    torn.write_bytes(expected[torn][:-1])
    np.save(other, np.zeros((256, 6, 8), np.float32))
    assert embed(folder, stored) == (3, 1)
    assert whole.stat().st_mtime == 0
    assert {path: path.read_bytes() for path in expected} == expected
    assert embed(folder, stored) == (0, 4)
    assert not list(stored.rglob('.*'))


def test_folders_of_another_teacher(folder, stored, tmp_path):
    other = tmp_path / 'other.pth'
    torch.save(tiny_sam.build(seed=1).state_dict(), other)
    options = {'model.teacher.checkpoint': str(other)}
    message = f'{stored} holds embeddings of another teacher or image size than {other}'
    with pytest.raises(UserError, match=message):
        embed(folder, stored, **options)
    cfg = tiny_distillation.load(folder, **options)
    with pytest.raises(UserError, match=f'in {stored} are of another teacher than'):
        build(cfg, embeddings=str(stored))


def test_folders_of_another_size(folder, stored):
    record = stored / 'embeddings.json'
    content = json.loads(record.read_text())
    assert (content['image_size'], content['channels']) == (tiny_sam.IMAGE_SIZE, 256)
    record.write_text(json.dumps({**content, 'image_size': 256}))
    with pytest.raises(UserError, match='another teacher or image size'):
        embed(folder, stored)
    cfg = tiny_distillation.load(folder)
    with pytest.raises(UserError, match='image_size=128 .* teacher has image_size=2'):
        build(cfg, embeddings=str(stored))
    record.write_text('{"image_size"')
    with pytest.raises(UserError, match='embeddings.json is damaged: delete'):
        build(cfg, embeddings=str(stored))
    record.unlink()
    with pytest.raises(UserError, match='holds no embeddings .*: make them with'):
        build(cfg, embeddings=str(stored))


def test_embeddings_that_are_not_of_the_images(folder, stored):
    cfg = tiny_distillation.load(folder)
    model = build(cfg, embeddings=str(stored))
    data = model.data_preprocessor(load_batch(cfg))

    def fails_with(message):
        with pytest.raises(UserError, match=message):
            model(**data, mode='loss')

    first = data['data_samples'][0]
    first.set_metainfo(dict(flip=True))
    fails_with('must not change them at random')
    first.set_metainfo(dict(flip=False, img_shape=(64, 128)))
    fails_with(r'0.png.npy has the shape \(256, 5, 8\) instead of \(256, 4, 8\): the')
    (stored / '0.png.npy').unlink()
    fails_with('0.png.npy is missing or damaged: make them with tools/embed_images.py')


def test_folders_of_images(folder, tmp_path):
    cfg = tiny_distillation.load(folder)
    check_datasets(cfg, ['train_dataloader'], thorough=True)
    cfg.train_dataloader.dataset.data_root = str(tmp_path)
    with pytest.raises(UserError, match=f'the folder {tmp_path}/? holds no image'):
        check_datasets(cfg, ['train_dataloader'])
    (tmp_path / 'torn.png').write_bytes(b'\x89PNG')
    with pytest.raises(UserError, match='torn.png: .*it is no image') as caught:
        check_datasets(cfg, ['train_dataloader'])
    assert '\n' not in str(caught.value)
    cfg.train_dataloader.dataset.data_root = str(tmp_path / 'none')
    with pytest.raises(UserError, match='there is no folder .*none/?: give the folder'):
        check_datasets(cfg, ['train_dataloader'])


def test_the_command_line(folder, tmp_path):
    config, images = folder / 'tiny_distill.py', folder / 'images'
    out = ('--out', tmp_path / 'out', '--device', 'cpu')
    done = fork_tool('embed_images.py', config, images, *out)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last == f'4 embeddings written to {tmp_path}/out, 0 were there'
    torn = tmp_path / 'torn'
    torn.mkdir()
    (torn / 'a.jpg').write_bytes(b'torn')
    done = fork_tool('embed_images.py', config, torn, '--out', tmp_path / 'other')
    assert_one_line_error(done, f'{torn}/a.jpg')
    done = fork_tool('embed_images.py', 'configs/sam_repvit_m2_3.py', images, *out)
    assert_one_line_error(done, 'is the config of a SegmentAnything: give one')
