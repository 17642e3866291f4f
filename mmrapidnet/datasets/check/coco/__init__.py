"""COCO's JSON: what is wrong with it, and a corrected copy.

A module for each subject: ``check_<subject>(table)`` yields what is wrong with the
records of a `CocoTable`.  Beside it, ``fix_<subject>(content)`` corrects what needs no
guessing: it changes the content of a file in place, in which records may be damaged,
and yields what it changed.
"""
