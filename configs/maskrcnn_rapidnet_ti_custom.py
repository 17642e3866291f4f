# Your own objects in COCO's JSON: copy this file, then edit the next two settings.
# Expected: annotations/{train,val}.json and the images in {train,val}/.
_base_ = 'maskrcnn_rapidnet_ti_coco.py'

data_root = 'data/custom/'
classes = ('cat', 'dog')  # as the JSON's categories are called

num_classes = len(classes)
model = dict(
    roi_head=dict(
        bbox_head=dict(num_classes=num_classes), mask_head=dict(num_classes=num_classes)
    )
)

dataset = dict(data_root=data_root, metainfo=dict(classes=classes))
train_dataloader = dict(
    dataset=dict(
        **dataset, ann_file='annotations/train.json', data_prefix=dict(img='train/')
    )
)
val_dataloader = dict(
    dataset=dict(
        **dataset, ann_file='annotations/val.json', data_prefix=dict(img='val/')
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = val_evaluator
