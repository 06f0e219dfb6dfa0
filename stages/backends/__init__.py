"""Models behind small protocols (``base/protocols.py``); ``registry.py`` alone lists their names."""
