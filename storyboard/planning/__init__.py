"""Breaking a story into scenes: `builtin` without help, `llm` by a language model."""
