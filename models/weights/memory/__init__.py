"""How the options of `memory` are applied to pipelines."""
