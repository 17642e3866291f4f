# RapidNet's and MobileViG's recipe for ImageNet-1K.  Every figure is a reading of the
# published code; of the paper is that RegNetY-16GF teaches, and what that is worth.
_base_ = 'mmpretrain::_base_/default_runtime.py'

train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# The rate is for 1024 images per step and is scaled to the actual number: batch size x
# processes.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05),
    # No decay of biases and of whatever else is one-dimensional.  Layer scale, shaped
    # (C, 1, 1), decays.
    paramwise_cfg=dict(bias_decay_mult=0.0, flat_decay_mult=0.0),
)
auto_scale_lr = dict(enable=True, base_batch_size=1024)

# The rates of the warm-up's start and of the end are not scaled.  (The published code
# tells its scheduler of an epoch after that epoch, so its rates come one epoch later.)
param_scheduler = dict(
    type='WarmupCosineLR', warmup=20, warmup_lr=1e-6, eta_min=1e-5, by_epoch=True
)

# Decay 0.99996, running statistics included.
ema = dict(type='EMAHook', momentum=4e-5, update_buffers=True)
custom_hooks = [ema]

# Where there are several processes, normalisation is over all of them.
sync_bn = 'torch'
env_cfg = dict(cudnn_benchmark=True)
# Two are kept, so that one is whole whenever a run is stopped.
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=2))
