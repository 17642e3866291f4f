# A student of rapidnet_ti_shapescls: half as wide and less deep.  Without the teacher:
# --cfg-options model.head.distillation=none
_base_ = 'rapidnet_ti_shapescls.py'

max_iters = 600

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            channels=(16, 32, 56, 112),
            local_blocks=(1, 1, 2, 1),
            global_blocks=(0, 0, 1, 1),
        ),
    ),
    head=dict(
        classifier=dict(in_channels=112, hidden_channels=256), distillation='hard'
    ),
    teacher=dict(
        **_base_.model, checkpoint='work_dirs/rapidnet_ti_shapescls/iter_1200.pth'
    ),
)

train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=max_iters),
]
default_hooks = dict(checkpoint=dict(interval=max_iters))
