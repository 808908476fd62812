"""Lets only one thread at a time build modules.

While accelerate creates a module on the meta device, parameters that any other thread registers end up there too
(accelerate 1.x, `init_on_device`, replaces `torch.nn.Module.register_parameter`), so a model loaded meanwhile would
have no weights.
"""

from __future__ import annotations

from threading import RLock

build_lock = RLock()
"""Held while modules are read or adapters injected; not while files are fetched."""
