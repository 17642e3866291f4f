_base_ = 'cls_rapidnet_ti.py'

model = dict(
    backbone=dict(type='MobileViG'), head=dict(classifier=dict(in_channels=256))
)
