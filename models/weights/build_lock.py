"""Building modules, one thread at a time.

While accelerate makes a module without memory for its weights, whatever any thread registers with any module is made
so (accelerate 1.x, `init_on_device`, replaces `torch.nn.Module.register_parameter`), and what another one loads
meanwhile stays without weights.
"""

from __future__ import annotations

from threading import RLock

build_lock = RLock()
"""Held while modules are read or adapters injected; not while files are fetched."""
