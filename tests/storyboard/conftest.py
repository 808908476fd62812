from tests.support.engine.clips import tiny_clip_source

__all__ = ["tiny_clip_source"]
