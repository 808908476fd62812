from tests.support.engines import engine, tiny_model, tiny_xl_model, xl_engine

__all__ = ["engine", "tiny_model", "tiny_xl_model", "xl_engine"]
