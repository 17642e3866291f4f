_base_ = 'cls_rapidnet_ti.py'

model = dict(
    # A linear rule over all blocks, as published.
    backbone=dict(type='MobileViG', drop_path_rate=0.1),
    head=dict(classifier=dict(in_channels=256)),
)
