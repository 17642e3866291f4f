"""What is wrong with the data sets of a config, found before a run is spoiled by it.

`run` reads everything, `precheck` what can be read in seconds.  Both list the samples
of a data set by the module that knows its kind (`coco`, `label_maps` or `imagenet`),
which checks its records, and then look at the files, the classes and the evaluators.
"""
