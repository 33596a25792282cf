"""The program that is counted: LiteRT runs a model with its profiler, and without.

It runs on the emulated core, by whatever Python and LiteRT lie there, so it imports
nothing of ours: `guest.py LIBRARY MODEL OUT.json [--once]`. LiteRT's C interface is
called because its Python interface cannot switch the profiler on. OUT.json gets the
profiler's events: [name, type, start in microseconds, number], in their order.
"""

import ctypes
import gc
import json
import os
import sys
from collections.abc import Iterator

_ON_CPU = 1  # kLiteRtHwAcceleratorCpu
_MARK = 0x7AB10000  # see blocks.c
_TYPE_ROOM = 256  # bytes; more than LiteRtRankedTensorType takes
_POINTER = ctypes.c_void_p
_FREE = ctypes.CFUNCTYPE(None, _POINTER)
_NOTHING_TO_FREE = _FREE(lambda _: None)


class Event(ctypes.Structure):
    """ProfiledEventData of litert/c/litert_profiler_event.h."""

    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("type", ctypes.c_int32),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_uint64 * 6),
        ("metadata", ctypes.c_uint64 * 2),
        ("source", ctypes.c_int32),
    )


class Model:
    """A model that is loaded, with buffers of zeros for what it takes and gives."""

    def __init__(self, library: str, path: str) -> None:
        """Load it, with its profiler compiled in."""
        self._lib = ctypes.CDLL(library)
        self._environment, self._model = _POINTER(), _POINTER()
        self._compiled, self._signature = _POINTER(), _POINTER()
        self.call("CreateEnvironment", 0, None, ctypes.byref(self._environment))
        self.call(
            "CreateModelFromFile",
            self._environment,
            path.encode(),
            ctypes.byref(self._model),
        )
        options = _POINTER()
        self.call("CreateOptions", ctypes.byref(options))
        self.call("SetOptionsHardwareAccelerators", options, _ON_CPU)
        profiled = (b"runtime_options_string", b"enable_profiling = true")
        alone = (b"xnnpack", b"num_threads = 1")
        self._payloads = [self._option(options, *each) for each in (profiled, alone)]
        self.call(
            "CreateCompiledModel",
            self._environment,
            self._model,
            options,
            ctypes.byref(self._compiled),
        )
        first = ctypes.c_size_t(0)
        self.call(
            "GetModelSignature", self._model, first, ctypes.byref(self._signature)
        )
        self._inputs = self._buffers("Input")
        self._outputs = self._buffers("Output")

    def call(self, name: str, *arguments: object) -> None:
        """Call a function of the C interface; it says 0 when all is well."""
        status = self._lib["LiteRt" + name](*arguments)
        if status != 0:
            raise SystemExit(f"LiteRt{name} failed with status {status}")

    def run(self) -> None:
        """One inference."""
        self.call(
            "RunCompiledModel",
            self._compiled,
            ctypes.c_size_t(0),
            ctypes.c_size_t(len(self._inputs)),
            self._inputs,
            ctypes.c_size_t(len(self._outputs)),
            self._outputs,
        )

    def profiler(self) -> ctypes.c_void_p:
        """The model's own profiler."""
        found = _POINTER()
        self.call("CompiledModelGetProfiler", self._compiled, ctypes.byref(found))
        return found

    def events(self, profiler: ctypes.c_void_p) -> Iterator[tuple[str, int, int, int]]:
        """What the profiler saw."""
        count = ctypes.c_int()
        self.call("GetNumProfilerEvents", profiler, ctypes.byref(count))
        events = (Event * count.value)()
        self.call("GetProfilerEvents", profiler, count, events)
        for each in events:
            name = (each.tag or b"").decode("utf-8", "replace")
            yield name, each.type, each.start_us, each.metadata[0]

    def _option(
        self, options: ctypes.c_void_p, identifier: bytes, toml: bytes
    ) -> object:
        """Set an option; the text that is given back must outlive the model."""
        opaque = _POINTER()
        payload = ctypes.create_string_buffer(toml + b"\n")
        self.call(
            "CreateOpaqueOptions",
            identifier,
            payload,
            _NOTHING_TO_FREE,
            ctypes.byref(opaque),
        )
        self.call("AddOpaqueOptions", options, opaque)
        return payload

    def _buffers(self, side: str) -> "ctypes.Array[ctypes.c_void_p]":
        """Buffers for every input or output."""
        count = ctypes.c_size_t()
        self.call(f"GetNumSignature{side}s", self._signature, ctypes.byref(count))
        buffers = (_POINTER * count.value)()
        for number in range(count.value):
            tensor, asked, made = _POINTER(), _POINTER(), _POINTER()
            kind = ctypes.create_string_buffer(_TYPE_ROOM)
            index = ctypes.c_size_t(number)
            self.call(
                f"GetSignature{side}TensorByIndex",
                self._signature,
                index,
                ctypes.byref(tensor),
            )
            self.call("GetRankedTensorType", tensor, kind)
            self.call(
                f"GetCompiledModel{side}BufferRequirements",
                self._compiled,
                ctypes.c_size_t(0),
                index,
                ctypes.byref(asked),
            )
            self.call(
                "CreateManagedTensorBufferFromRequirements",
                self._environment,
                kind,
                asked,
                ctypes.byref(made),
            )
            buffers[number] = made
        return buffers


def _mark(number: int) -> None:
    """Tell the plugin; the file that would be closed does not exist."""
    try:
        os.close(_MARK + number)
    except OSError:
        return


def main() -> None:
    """Two sections: an inference with the profiler, and unless `--once` one without."""
    library, path, out, *once = sys.argv[1:]
    model = Model(library, path)
    profiler = model.profiler()
    gc.disable()  # it would run at any time
    model.call("StartProfiler", profiler)
    _mark(1)
    model.run()
    _mark(2)
    model.call("StopProfiler", profiler)
    if not once:
        _mark(1)
        model.run()
        _mark(2)
    with open(out, "w", encoding="utf-8") as file:  # noqa: PTH123  # few imports
        json.dump(list(model.events(profiler)), file)


if __name__ == "__main__":
    main()
