"""Images and labels: recognised layouts, the decode cache, batches on the device.

The path through this package is `prepare` (index, then cache) and `batches` (cut and augment).
Only `placement`, `batches`, `augment` and `mixing` import torch; the decoding processes must not.
"""
