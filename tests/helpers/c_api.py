"""Runs a SavedModel by TensorFlow's C API alone, as a C program would: no Python of TensorFlow, core ops only.

python c_api.py FOLDER INPUT OUTPUT TEXT...  prints the float output, one row of JSON per text. INPUT and OUTPUT are
tensor names, such as serving_default_text:0.
"""

import ctypes
import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

TF_FLOAT, TF_STRING, TSTRING_BYTES = 1, 7, 24  # tensorflow/c/tf_datatype.h, tf_tstring.h
P, C, N = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t


class Output(ctypes.Structure):
    """TF_Output of tensorflow/c/c_api.h."""

    _fields_ = (("operation", P), ("index", ctypes.c_int))


def library() -> Callable[..., Any]:
    spec = importlib.util.find_spec("tensorflow")
    assert spec and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0])
    framework = ctypes.CDLL(str(folder / "libtensorflow_framework.so.2"), mode=ctypes.RTLD_GLOBAL)
    main = ctypes.CDLL(str(folder / "libtensorflow_cc.so.2"), mode=ctypes.RTLD_GLOBAL)

    def function(name: str, result: Any, *arguments: Any) -> Any:
        found = getattr(main, name, None) or getattr(framework, name)
        found.restype, found.argtypes = result, arguments
        return found

    return function


def main(folder: str, input_name: str, output_name: str, texts: Sequence[str]) -> None:
    tf = library()
    status = tf("TF_NewStatus", P)()
    graph, options = tf("TF_NewGraph", P)(), tf("TF_NewSessionOptions", P)()
    load = tf("TF_LoadSessionFromSavedModel", P, P, P, C, ctypes.POINTER(C), ctypes.c_int, P, P, P)
    session = load(options, None, folder.encode(), (C * 1)(b"serve"), 1, graph, None, status)

    def check() -> None:
        if tf("TF_GetCode", ctypes.c_int, P)(status):
            sys.exit(tf("TF_Message", C, P)(status).decode())

    check()

    def place(name: str) -> Output:
        operation, _, index = name.partition(":")
        return Output(tf("TF_GraphOperationByName", P, P, C)(graph, operation.encode()), int(index or 0))

    allocate = tf("TF_AllocateTensor", P, ctypes.c_int, ctypes.POINTER(ctypes.c_int64), ctypes.c_int, N)
    data = tf("TF_TensorData", P, P)
    tensor = allocate(TF_STRING, (ctypes.c_int64 * 1)(len(texts)), 1, TSTRING_BYTES * len(texts))
    for number, text in enumerate(texts):
        raw, cell = text.encode(), data(tensor) + TSTRING_BYTES * number
        tf("TF_StringInit", None, P)(cell)
        tf("TF_StringCopy", None, P, C, N)(cell, raw, len(raw))
    found = (P * 1)()
    ports = (ctypes.POINTER(Output), ctypes.POINTER(P), ctypes.c_int)
    run = tf("TF_SessionRun", None, P, P, *ports, *ports, P, ctypes.c_int, P, P)
    inputs, outputs = (Output * 1)(place(input_name)), (Output * 1)(place(output_name))
    run(session, None, inputs, (P * 1)(tensor), 1, outputs, found, 1, None, 0, None, status)
    check()
    assert tf("TF_TensorType", ctypes.c_int, P)(found[0]) == TF_FLOAT
    width = tf("TF_Dim", ctypes.c_int64, P, ctypes.c_int)(found[0], 1)
    values = ctypes.cast(data(found[0]), ctypes.POINTER(ctypes.c_float))
    for row in range(len(texts)):
        print(json.dumps([values[row * width + column] for column in range(width)]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
