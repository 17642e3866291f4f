"""What one process and many are compared in."""

import json
import os
import pickle
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.dataset import pseudo_collate
from mmengine.dist import get_world_size
from mmengine.hooks import Hook

from helpers.bad_data import load
from helpers.tiny_models import write_checkpoint, write_imagenet
from mmrapidnet.apis import options
from mmrapidnet.apis.test import test
from mmrapidnet.apis.train import build_runner
from mmrapidnet.datasets.shapes import write_shapes

SIZE = 64
# Of all processes together.
BATCH = 4
SHARD = 2
ITERATIONS = 20
IMAGES = 7
ROOTS = {
    'segmenter': 'shapes/ade',
    'detector': 'shapes/coco',
    'classifier': 'imagenet',
}


class Following(Hook):
    """Holds batch normalisation still, and takes down losses and rates."""

    def __init__(self):
        self.losses, self.rates = [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        for module in runner.model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.eval()
        self.rates.append(runner.optim_wrapper.get_lr()['lr'][0])

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs['loss'].item())


def write_data(root: Path, kinds) -> None:
    """Few images: seven to test on, a number that no number of processes divides."""
    write_shapes(root / 'shapes', {'train': 8, 'val': IMAGES}, image_size=SIZE)
    write_imagenet(root / 'imagenet', IMAGES)
    for kind in kinds:
        write_checkpoint(config(kind, root), root / f'{kind}.pth')
    if 'detector' in kinds:
        _label_objects_as_predicted(root)
    if 'classifier' in kinds:
        _label_images_as_predicted(root)


def _label_objects_as_predicted(root: Path) -> None:
    """A few predicted boxes, moved a little: random weights are right now and then."""
    path = root / 'shapes/coco/annotations/instances_val2017.json'
    content = json.loads(path.read_text())
    ids = [category['id'] for category in content['categories']]
    content['annotations'] = []
    for prediction in predict('detector', root):
        found = prediction['pred_instances']
        for box, label in zip(found['bboxes'][:4].tolist(), found['labels'].tolist()):
            x, y, width, height = box[0], box[1] + 1, box[2] - box[0], box[3] - box[1]
            right, low = x + width, y + height
            content['annotations'].append(
                dict(
                    id=len(content['annotations']) + 1,
                    image_id=prediction['img_id'],
                    category_id=ids[label],
                    bbox=[x, y, width, height],
                    area=width * height,
                    iscrowd=0,
                    segmentation=[[x, y, right, y, right, low, x, low]],
                )
            )
    path.write_text(json.dumps(content))


def _label_images_as_predicted(root: Path) -> None:
    """Every second image: so many are right."""
    path = root / 'imagenet/meta/val.txt'
    names = [line.split()[0] for line in path.read_text().splitlines()]
    labels = [int(p['pred_label']) for p in predict('classifier', root)]
    lines = [
        f'{name} {label if number % 2 else (label + 1) % 1000}\n'
        for number, (name, label) in enumerate(zip(names, labels))
    ]
    path.write_text(''.join(lines))


def config(kind: str, root: Path, name: str = 'model'):
    """The config of a small model without anything random."""
    cfg = load(kind, root / ROOTS[kind])
    cfg.work_dir = str(root / name)
    cfg.log_level = 'WARNING'
    cfg.launcher = 'pytorch' if 'RANK' in os.environ else 'none'
    if kind == 'classifier':
        return cfg
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
        steps = [t for t in loader.dataset.pipeline if t.type != 'RandomFlip']
        loader.dataset.pipeline = steps
        for step in steps:
            if step.type == 'Resize':
                step.scale = (SIZE, SIZE)
    if kind == 'segmenter':
        cfg.model.data_preprocessor.size = (SIZE, SIZE)
        cfg.model.decode_head.dropout_ratio = 0.0
    else:
        # Also images without an object.
        cfg.train_dataloader.dataset.filter_cfg = None
        # Every anchor and every proposal instead of a random sample.
        for part in (cfg.model.train_cfg.rpn, cfg.model.train_cfg.rcnn):
            part.sampler.update(num=10**6, neg_pos_ub=-1)
    return cfg


def follow(
    root: Path, name: str, batch_size: int, parts: int = 1, iterations: int = ITERATIONS
):
    """Train the segmenter; its losses, rates and weights."""
    cfg = config('segmenter', root, name)
    cfg.merge_from_dict(
        {
            'train_cfg.max_iters': iterations,
            'train_dataloader.batch_size': batch_size,
            'param_scheduler': [
                dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=5),
                dict(type='CosineAnnealingLR', by_epoch=False, begin=5, end=ITERATIONS),
            ],
            'load_from': str(root / 'segmenter.pth'),
            'default_hooks.checkpoint.interval': -1,
            'default_hooks.checkpoint.save_last': False,
        }
    )
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if parts > 1:
        options.accumulate(cfg, parts)
    runner = build_runner(cfg)
    following = Following()
    runner.register_hook(following)
    runner.train()
    state = getattr(runner.model, 'module', runner.model).state_dict()
    return {'losses': following.losses, 'rates': following.rates, 'weights': state}


def gradient(root: Path, name: str, shards: list[int], parts: bool = False):
    """The gradient that the detector's optimizer gets of some shards of the data."""
    cfg = config('detector', root, name)
    cfg.load_from = str(root / 'detector.pth')
    if parts:
        cfg.train_dataloader.batch_size = SHARD
        options.accumulate(cfg, len(shards))
    runner = build_runner(cfg)
    runner.load_or_resume()
    model = runner.model.eval()
    dataset = runner.build_dataloader(cfg.train_dataloader).dataset
    wrapper = runner.build_optim_wrapper(cfg.optim_wrapper)
    wrapper.clip_grad_kwargs = None
    found = {}

    def take(*_):
        for key, value in getattr(model, 'module', model).named_parameters():
            if value.grad is not None:
                found[key] = value.grad.clone()

    wrapper.optimizer.register_step_pre_hook(take)
    for hook in runner.hooks:
        if type(hook).__name__ == 'GradientAccumulationHook':
            hook.before_train(runner)
    samples = [dataset[s * SHARD + i] for s in shards for i in range(SHARD)]
    model.train_step(pseudo_collate(samples), optim_wrapper=wrapper)
    return found


def evaluate(kind: str, root: Path, name: str):
    """The metrics of a model; its predictions are kept."""
    cfg = config(kind, root, f'{name}_{kind}')
    out = Path(cfg.work_dir) / ('maps' if kind == 'segmenter' else 'predictions.pkl')
    options.save_predictions(cfg, str(out))
    metrics = test(cfg, str(root / f'{kind}.pth'))
    return {metric: float(value) for metric, value in metrics.items()}


def read_predictions(kind: str, root: Path, name: str) -> list:
    """What `evaluate` kept of a detector or a classifier."""
    return pickle.loads((root / f'{name}_{kind}' / 'predictions.pkl').read_bytes())


def predict(kind: str, root: Path) -> list:
    """Predictions on the data set as it is."""
    evaluate(kind, root, 'first')
    return read_predictions(kind, root, 'first')


def follow_as_one_of_several(root: Path, kinds: Sequence[str]) -> None:
    """Do everything as one of several processes, and write down what came of it."""
    rank, count = int(os.environ['RANK']), int(os.environ['WORLD_SIZE'])
    name = f'of{count}'
    done = follow(root, name, BATCH // count)
    assert get_world_size() == count
    done['gradient'] = gradient(root, f'gradient_{name}', [rank])
    # Every shard twice, so the mean is the same.
    two = [rank, (rank + 1) % count]
    done['in_parts'] = gradient(root, f'parts_{name}', two, parts=True)
    done['metrics'] = {kind: evaluate(kind, root, name) for kind in kinds}
    torch.save(done, root / f'{name}_rank{rank}.pth')
