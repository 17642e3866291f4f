# RepViT's recipe, a reading of the published code.  Its table also has models of 450
# epochs: --cfg-options train_cfg.max_epochs=450, and the schedule follows.
_base_ = 'pretrain_300e.py'

optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.025))
auto_scale_lr = dict(base_batch_size=512)
param_scheduler = dict(warmup=5)
# All parameters are clipped, as there; timm's own script spares the last layer.
custom_hooks = [
    _base_.ema,
    dict(type='AdaptiveGradientClippingHook', clip_factor=0.02),
]
# Each process normalises over its own images.
sync_bn = None
