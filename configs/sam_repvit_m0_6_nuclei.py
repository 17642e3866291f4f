# Segment nuclei of microscope images, at twice their size, from what has learnt Shapes:
# --cfg-options load_from=FILE, a checkpoint of sam_repvit_m0_6_shapes.
_base_ = 'sam_repvit_m0_6_custom.py'

data_root = 'data/nuclei/'
max_iters = 1400

# Boxes above all: a nucleus of 13 pixels leaves little to correct.
model = dict(
    train_cfg=dict(
        objects_per_image=8, box_prob=0.75, corrections=(0, 1), refinements=0
    )
)

# As in _base_/datasets/nuclei.py: some images are ten times as bright as others.
brighten = dict(type='AutoContrast')
train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline.insert(1, brighten)
test_pipeline.insert(1, brighten)

dataset = dict(data_root=data_root, metainfo=dict(classes=('nucleus',)))
train_dataloader = dict(batch_size=2, dataset=dict(**dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**dataset, pipeline=test_pipeline))
test_dataloader = val_dataloader

train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=4e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=max_iters),
]
default_hooks = dict(checkpoint=dict(interval=max_iters // 4))
