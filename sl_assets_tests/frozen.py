"""Imported after what takes long to import, so that the garbage collector never looks at that again.

It would at every training's end, and by that copy what forked processes share.
"""

import gc

gc.collect()
gc.freeze()
