from tests.support.engine.engines import conditioned_model, engine, tiny_model, tiny_xl_model, xl_engine

__all__ = ["conditioned_model", "engine", "tiny_model", "tiny_xl_model", "xl_engine"]
