"""From a finished trial to files that run anywhere, and back from those files to a classifier.

`export` writes a folder that needs nothing else, `verify` proves it on the validation split, `load` brings its
classifier back. Nothing here knows where the trial was recorded.
"""
