"""COCO's JSON: what is wrong with it, and a corrected copy."""
