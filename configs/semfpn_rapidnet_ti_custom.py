# Your own label maps: copy this file, then edit the next two settings.
# Expected: images/{train,val}/*.jpg and labels/{train,val}/*.png of the same names,
# each pixel the index of its class in `classes`, or 255 where it has none.
_base_ = 'semfpn_rapidnet_ti_ade20k.py'

data_root = 'data/custom/'
classes = ('road', 'car')

model = dict(decode_head=dict(num_classes=len(classes)))

# In ADE20K's own label maps 0 is unlabelled and the classes start at 1.
train_pipeline = _base_.train_pipeline
train_pipeline[1]['reduce_zero_label'] = False
test_pipeline = _base_.test_pipeline
test_pipeline[3]['reduce_zero_label'] = False

dataset = dict(
    type='BaseSegDataset',
    data_root=data_root,
    metainfo=dict(classes=classes),
    img_suffix='.jpg',
    seg_map_suffix='.png',
)
train_dataloader = dict(
    dataset=dict(
        **dataset,
        data_prefix=dict(img_path='images/train', seg_map_path='labels/train'),
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        **dataset,
        data_prefix=dict(img_path='images/val', seg_map_path='labels/val'),
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader
