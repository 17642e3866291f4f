# Segment anything on your own objects in COCO's JSON: copy this file, then edit the next
# settings.  Expected: annotations/{train,val}.json and the images in {train,val}/.
_base_ = 'sam_repvit_m0_6_shapes.py'

data_root = 'data/custom/'
classes = ('cat', 'dog')  # as the JSON's categories are called; only their masks count
image_size = 512  # a multiple of 64, to which the longer side of each image is resized
max_iters = 4000

model = dict(
    image_size=image_size,
    train_cfg=dict(objects_per_image=16, corrections=(1, 3), refinements=1),
)

train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[3]['scale'] = test_pipeline[2]['scale'] = (image_size, image_size)

dataset = dict(data_root=data_root, metainfo=dict(_delete_=True, classes=classes))
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        **dataset,
        ann_file='annotations/train.json',
        data_prefix=dict(img='train/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        **dataset,
        ann_file='annotations/val.json',
        data_prefix=dict(img='val/'),
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader

train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=max_iters),
]
default_hooks = dict(checkpoint=dict(interval=max_iters // 8))
