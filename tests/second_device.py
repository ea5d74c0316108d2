"""A second device for machines without one: its tensors compute on the CPU and refuse to mix.

What runs here asks for its tensors where its input lies, and brings results back before NumPy sees
them, as a GPU demands. It says nothing of a GPU's speed or rounding.
"""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

_setup_privateuseone_for_python_backend("second")
DEVICE = torch.device("second")
ATEN = torch.ops.aten
MIXES = {ATEN._to_copy.default, ATEN.copy_.default, ATEN.index.Tensor}  # so do a GPU's


class Remote(torch.Tensor):
    """A tensor on the second device; `local` is its value."""

    local: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, local: torch.Tensor) -> Remote:
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            local.shape,
            strides=local.stride(),
            storage_offset=local.storage_offset(),
            dtype=local.dtype,
            device=DEVICE,
        )
        tensor.local = local
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})

    def tolist(self) -> list:
        return self.local.tolist()


class SecondDevice(TorchDispatchMode):
    """Inside, the second device is there; see `DEVICE` and `send`."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def send(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the second device."""
    return tensor.to(DEVICE)


def _run(func, args, kwargs):
    tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
    remote = [t for t in tensors if isinstance(t, Remote)]
    device = kwargs.get("device")
    if remote and func not in MIXES and any(t.dim() and not isinstance(t, Remote) for t in tensors):
        raise RuntimeError(f"{func}: expected all tensors to be on the same device")
    there = bool(remote) if device is None else torch.device(device).type == DEVICE.type
    known = {id(t.local): t for t in remote}  # what an operation in place gives back
    args, kwargs = tree_map(lambda x: x.local if isinstance(x, Remote) else x, (args, kwargs))
    if device is not None:
        kwargs["device"] = "cpu"
    out = func(*args, **kwargs)

    def wrap(value):
        if not isinstance(value, torch.Tensor):
            return value
        return known[id(value)] if id(value) in known else Remote(value)

    return tree_map(wrap, out) if there else out


# new_tensor and torch.tensor send their values past the mode above, by these two
@torch.library.impl("aten::empty_strided", "PrivateUse1")
def _empty_strided(size, stride, *, dtype=None, **_):
    return Remote(torch.empty_strided(size, stride, dtype=dtype))


@torch.library.impl("aten::_copy_from", "PrivateUse1")
def _copy_from(source, target, non_blocking=False):
    target.local.copy_(source)
    return target
