"""``ems commission``: prove on site that the devices do what the safety of the plant relies on.

``record`` is what `ems run` needs before the first arm; everything else runs only here.
"""
