from tests.support.engines import engine, tiny_model

__all__ = ["engine", "tiny_model"]
