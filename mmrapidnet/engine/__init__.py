"""From a config to a trained, tested or drawing model, over mmengine's Runner."""
