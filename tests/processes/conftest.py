from tests.support.storyboard.clips import tiny_clip_source

__all__ = ["tiny_clip_source"]
