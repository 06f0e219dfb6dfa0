"""Models behind small protocols (``protocols.py``); ``build.py`` is the only place that knows which names exist."""
