# mmseg's schedule for ADE20K with RapidNet's optimizer, whose rate falls to 0: half of
# that for 32 images per step, as these are 16.
_base_ = 'mmseg::_base_/schedules/schedule_160k.py'

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, weight_decay=1e-4)
)
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0.0, begin=0, end=160000, by_epoch=False)
]
auto_scale_lr = dict(enable=False, base_batch_size=16)
