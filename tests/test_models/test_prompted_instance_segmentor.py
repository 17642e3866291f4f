"""Boxes become masks: of the ground truth, of a result file, of a detector."""

import json

import cv2
import numpy as np
import pytest
import torch
from helpers import tiny_models, tiny_sam
from helpers.commands import REPO, assert_one_line_error
from helpers.tool_server import fork_tool
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.structures import BaseDataElement, InstanceData

from mmrapidnet.apis import SegmentAnythingPredictor
from mmrapidnet.checkpoints.state_dict import read_checkpoint
from mmrapidnet.config.load import load_config
from mmrapidnet.deploy.loading import fill_model
from mmrapidnet.models import PromptedInstanceSegmentor
from mmrapidnet.utils.errors import UserError

GT = dict(boxes='gt')


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Config and checkpoint of the SAM model alone."""
    return tiny_sam.write(tmp_path_factory.mktemp('sam'))


@pytest.fixture(scope='module')
def root(shapes_root):
    return shapes_root / 'coco'


@pytest.fixture(scope='module')
def truth(root):
    return json.loads((root / 'annotations' / 'instances_val2017.json').read_bytes())


@pytest.fixture(scope='module')
def samples(root, tmp_path_factory):
    """What the data loader gives, of each image."""
    config = tiny_sam.write_segmentor(tmp_path_factory.mktemp('config'))
    cfg = load_config(str(config), data_root=str(root))
    with DefaultScope.overwrite_default_scope('mmdet'):
        return list(DATASETS.build(cfg.test_dataloader.dataset))


@pytest.fixture(scope='module')
def detector(root, tmp_path_factory):
    """Config and checkpoint of a detector."""
    folder = tmp_path_factory.mktemp('detector')
    config = tiny_models.write_config('detector', folder)
    cfg = load_config(str(config), data_root=str(root))
    checkpoint = tiny_models.write_checkpoint(cfg, folder / 'detector.pth')
    return dict(detector=str(config), detector_checkpoint=str(checkpoint))


@pytest.fixture
def results(root, tmp_path):
    """Writes a result file, and gives what the model needs to read it."""

    def write(records):
        path = tmp_path / 'dets.bbox.json'
        path.write_text(json.dumps(records))
        ann_file = root / 'annotations' / 'instances_val2017.json'
        return dict(boxes=str(path), ann_file=str(ann_file))

    return write


def build(files, **source):
    cfg = dict(type='PromptedInstanceSegmentor', segmenter=tiny_sam.MODEL, **source)
    model = MODELS.build(cfg).eval()
    return fill_model(model, read_checkpoint(str(files[1])), str(files[1]))


def segment(model, sample):
    batch = dict(
        inputs=[sample['inputs']], data_samples=[sample['data_samples'].clone()]
    )
    (found,) = model.test_step(batch)
    return found.pred_instances


def make_sample(boxes, height=60, width=100):
    image = tiny_sam.draw_image(height, width).transpose(2, 0, 1)
    boxes = torch.tensor(boxes).reshape(-1, 4)
    truth = InstanceData(bboxes=boxes, labels=torch.arange(len(boxes)))
    meta = dict(ori_shape=(height, width), img_id=1, img_path='image.png')
    sample = BaseDataElement(metainfo=meta, gt_instances=truth)
    return dict(inputs=torch.from_numpy(image), data_samples=sample)


def assert_masks_of_boxes(files, found, path):
    """Each mask is what the predictor gives for its box alone."""
    predictor = SegmentAnythingPredictor(*files, device='cpu')
    predictor.set_image(cv2.imread(path), 'BGR')
    assert len(found.masks) == len(found.bboxes) > 0
    for mask, box in zip(found.masks, found.bboxes):
        (expected,), _, _ = predictor.predict(box=box.numpy(), multimask_output=False)
        assert mask.dtype == torch.bool
        assert (mask.numpy() != expected).mean() < 1e-3
    assert 0 < found.masks.float().mean() < 1


# ------------------------------------------------------------- sources of boxes


def test_ground_truth(files, samples, truth):
    model = build(files, **GT)
    for sample in samples[:2]:
        found, meta = segment(model, sample), sample['data_samples']
        own = [r for r in truth['annotations'] if r['image_id'] == meta.img_id]
        x, y, width, height = np.array([r['bbox'] for r in own]).T
        np.testing.assert_allclose(
            found.bboxes, np.stack([x, y, x + width, y + height], 1), atol=1e-4
        )
        numbers = [category['id'] for category in truth['categories']]
        assert found.labels.tolist() == [numbers.index(r['category_id']) for r in own]
        assert found.scores.tolist() == [1.0] * len(own)
        assert_masks_of_boxes(files, found, meta.img_path)


def test_result_file(files, samples, truth, results):
    image = samples[0]['data_samples'].img_id
    last = truth['categories'][-1]['id']
    record = dict(image_id=image, category_id=last, bbox=[10, 12, 50, 40], score=0.625)
    model = build(files, **results([record]))
    found = segment(model, samples[0])
    assert found.bboxes.tolist() == [[10, 12, 60, 52]]
    assert (found.scores.item(), found.labels.item()) == (0.625, 5)
    assert_masks_of_boxes(files, found, samples[0]['data_samples'].img_path)
    without = segment(model, samples[1])
    height, width = samples[1]['data_samples'].ori_shape
    assert without.masks.shape == (0, height, width)
    assert (without.bboxes.shape, without.labels.dtype) == ((0, 4), torch.long)


def test_result_file_of_more_classes_than_the_data_set(files, samples, truth, results):
    image = samples[0]['data_samples'].img_id
    records = [
        dict(image_id=image, category_id=c['id'], bbox=[1, 2, 30, 40], score=0.5)
        for c in truth['categories']
    ]
    # In another order than the annotations', which is the data set's.
    few = [truth['categories'][i]['name'] for i in (4, 1)]
    model = build(files, **results(records), classes=few)
    assert segment(model, samples[0]).labels.tolist() == [0, 1]


def test_detector(files, samples, detector):
    from mmdet.apis import inference_detector, init_detector

    model = build(files, **detector)
    assert {name.split('.')[0] for name in model.state_dict()} == {
        *('backbone', 'neck', 'prompt_encoder', 'mask_decoder')
    }
    path = samples[0]['data_samples'].img_path
    found = segment(model, samples[0])
    with DefaultScope.overwrite_default_scope('mmdet'):
        theirs = init_detector(*detector.values(), device='cpu')
        expected = inference_detector(theirs, path).pred_instances
    assert len(expected) > 1
    for name in ('bboxes', 'scores', 'labels'):
        torch.testing.assert_close(found[name], expected[name])
    assert_masks_of_boxes(files, found[:3], path)


# ------------------------------------------------------------- odd boxes


def test_image_without_boxes(files):
    found = segment(build(files, **GT), make_sample([]))
    assert found.masks.shape == (0, 60, 100)
    assert found.masks.dtype == torch.bool


def test_boxes_are_cut_at_the_image(files):
    model = build(files, **GT)
    beyond, within = [-30.0, 10.0, 500.0, 90.0], [0.0, 10.0, 100.0, 60.0]
    found = segment(model, make_sample([beyond, within]))
    assert found.bboxes[0].tolist() == beyond  # the detector's
    assert torch.equal(*found.masks)
    assert found.masks.any()


def test_boxes_without_a_size_have_empty_masks(files):
    nan = float('nan')
    odd = [[5, 5, 5, 20], [30, 30, 20, 40], [200, 5, 300, 20], [nan, 1, nan, 9]]
    model, whole = build(files, **GT), [10.0, 10.0, 50.0, 50.0]
    found = segment(model, make_sample([*odd[:2], whole, *odd[2:]]))
    assert [bool(mask.any()) for mask in found.masks] == [False] * 2 + [True] + [
        False
    ] * 2
    assert torch.equal(found.masks[2], segment(model, make_sample([whole])).masks[0])
    assert not segment(model, make_sample(odd)).masks.any()


def test_resized_images_give_masks_of_the_original_size(files):
    model, sample = build(files, **GT), make_sample([10.0, 10.0, 70.0, 50.0])
    expected = segment(model, sample).masks
    large = torch.nn.functional.interpolate(
        sample['inputs'][None], scale_factor=2, mode='nearest'
    )
    found = segment(model, {**sample, 'inputs': large[0]}).masks
    assert found.shape == expected.shape
    assert (found != expected).float().mean() < 0.1


# ------------------------------------------------------------- the config


def test_config_takes_the_checkpoint_of_sam_alone():
    alone, whole = (
        load_config(str(REPO / 'configs' / f'sam_repvit_m2_3{end}.py'))
        for end in ('', '_coco')
    )
    with torch.device('meta'):
        names = [list(MODELS.build(cfg.model).state_dict()) for cfg in (alone, whole)]
    assert names[0] == names[1]
    steps = [step.type for step in whole.test_dataloader.dataset.pipeline]
    assert steps == ['LoadImageFromFile', 'LoadAnnotations', 'PackDetInputs']


# ------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ('source', 'message'),
    [
        ({}, 'boxes of one source: .* detector is None and boxes None'),
        (dict(boxes='gt', detector='d.py'), "detector is 'd.py' and boxes 'gt'"),
        (dict(detector='d.py'), 'the detector d.py has no weights: .*_checkpoint'),
        (dict(boxes='dets.json'), 'dets.json needs the annotations .* ann_file'),
    ],
)
def test_sources_that_are_none_or_two(source, message):
    with pytest.raises(UserError, match=message):
        PromptedInstanceSegmentor(tiny_sam.MODEL, **source)


def test_segmenter_of_another_type():
    with pytest.raises(UserError, match='segmenter .* is a MaskRCNN: give'):
        PromptedInstanceSegmentor(dict(type='mmdet.MaskRCNN'), **GT)


def test_an_image_in_which_nothing_can_be_seen(files):
    thin = make_sample([[10.0, 0.0, 50.0, 1.0]], height=1, width=3000)
    with pytest.raises(UserError, match='has 3000 x 1 pixels, in which nothing'):
        segment(build(files, **GT), thin)


def test_pipeline_without_annotations(files):
    sample = make_sample([])
    sample['data_samples'] = BaseDataElement(metainfo=dict(ori_shape=(60, 100)))
    with pytest.raises(UserError, match=r'LoadAnnotations\(with_bbox=True\)'):
        segment(build(files, **GT), sample)


@pytest.mark.parametrize(
    ('records', 'message'),
    [
        ([dict(image_id=7007)], r'box of category 1 in image 7007, but .* both'),
        ([dict(category_id=99)], r'box of category 99 in image \d+, but'),
        ([dict(bbox=[1, 2, 3])], 'ValueError: a bbox is not of four numbers'),
        ([dict(bbox=None)], 'cannot be read as COCO results with boxes: TypeError'),
        (dict(images=[]), 'cannot be read as COCO results with boxes: TypeError'),
    ],
)
def test_result_files_that_do_not_fit(files, samples, results, records, message):
    image = samples[0]['data_samples'].img_id
    if isinstance(records, list):
        whole = dict(image_id=image, category_id=1, bbox=[1, 2, 3, 4], score=0.5)
        records = [{**whole, **record} for record in records]
    model = build(files, **results(records))
    with pytest.raises(UserError, match=message) as caught:
        segment(model, samples[0])
    assert '\n' not in str(caught.value)


def test_result_file_that_is_not_there(files, samples, results):
    source = {**results([]), 'boxes': 'nowhere.json'}
    with pytest.raises(UserError, match=r'nowhere.json cannot be read as COCO results'):
        segment(build(files, **source), samples[0])


def test_config_of_no_detector(files, samples, detector, tmp_path):
    segmenter = tiny_models.write_config('segmenter', tmp_path)
    for config in (segmenter, tiny_sam.write(tmp_path)[0]):
        source = {**detector, 'detector': str(config)}
        with pytest.raises(UserError, match='config of no detector|must be one'):
            segment(build(files, **source), samples[0])


def test_detector_that_gives_no_boxes(files, samples, detector, monkeypatch):
    from mmdet.models import MaskRCNN

    monkeypatch.setattr(
        MaskRCNN, 'predict', lambda self, inputs, data_samples: data_samples
    )
    with pytest.raises(UserError, match='gives no boxes, which SAM needs'):
        segment(build(files, **detector), samples[0])


def test_detector_with_weights_of_another_model(files, samples, detector):
    source = {**detector, 'detector_checkpoint': str(files[1])}
    with pytest.raises(UserError, match='does not fit MaskRCNN'):
        segment(build(files, **source), samples[0])


# ------------------------------------------------------------- the whole way


def run_test(files, root, folder, *options):
    config = tiny_sam.write_segmentor(folder, **GT)
    where = ('--data-root', root, '--work-dir', folder / 'run')
    options = ('--cfg-options', *options) if options else ()
    return fork_tool('test.py', config, files[1], *where, *options)


def read_metrics(done, folder):
    assert done.returncode == 0, done.stderr
    return json.loads((folder / 'run' / 'metrics.json').read_text())['metrics']


def test_mask_ap_with_the_ground_truth(files, root, tmp_path):
    """From the checkpoint of SAM alone; boxes are perfect, random masks are not."""
    metrics = read_metrics(run_test(files, root, tmp_path), tmp_path)
    assert metrics['coco/bbox_mAP'] == 1.0
    assert 0 <= metrics['coco/segm_mAP'] < 0.5


def test_mask_ap_with_a_detector_and_with_its_results(files, root, detector, tmp_path):
    options = [f'model.{k}={v}' for k, v in {**detector, 'boxes': None}.items()]
    metrics = read_metrics(run_test(files, root, tmp_path, *options), tmp_path)
    assert 0 <= metrics['coco/bbox_mAP'] < 1.0
    assert 0 <= metrics['coco/segm_mAP'] < 0.5

    # As the page has it: the detector alone, then its boxes.
    where = ('--data-root', root, '--work-dir', tmp_path / 'detector')
    prefix = ('--cfg-options', f'test_evaluator.outfile_prefix={tmp_path / "dets"}')
    done = fork_tool('test.py', *detector.values(), *where, *prefix)
    assert done.returncode == 0, done.stderr
    option = f'model.boxes={tmp_path / "dets.bbox.json"}'
    again = read_metrics(run_test(files, root, tmp_path, option), tmp_path)
    # The file has the boxes in full, but the detector was given several images at once.
    assert again == pytest.approx(metrics, abs=1e-3)


def test_results_of_other_images_in_one_line(files, root, results, tmp_path):
    record = dict(image_id=7007, category_id=1, bbox=[1, 2, 3, 4], score=0.5)
    options = [f'model.{name}={v}' for name, v in results([record]).items()]
    done = run_test(files, root, tmp_path, *options)
    assert_one_line_error(done, 'dets.bbox.json has a box of category 1 in image 7007')
