"""Names that pickles import: those that torch itself takes for safe, and those that are known to run code."""


def _split(text: str) -> list[str]:
    return text.split()


# The names that `torch.load(weights_only=True)` takes: tensors and plain containers. torch's own list, but for its
# scalar types and the storages and tensors that are named after them; a test compares them.
_SCALARS = ("BFloat16", "Bool", "Byte", "Char", "ComplexDouble", "ComplexFloat", "Double", "Float", "Half", "Int")
_STORED = (*_SCALARS, "Long", "Short")
_DENSE = tuple(name for name in _STORED if not name.startswith("Complex"))
_SPARSE = tuple(name for name in _DENSE if name != "Bool")
_QUANTIZED = ("QInt32", "QInt8", "QUInt2x4", "QUInt4x2", "QUInt8")
_DTYPES = _split(
    "bfloat16 bits16 bits1x8 bits2x4 bits4x2 bits8 bool complex128 complex32 complex64 float16 float32 "
    "float4_e2m1fn_x2 float64 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu int1 int16 int2 "
    "int3 int32 int4 int5 int6 int64 int7 int8 qint32 qint8 quint2x4 quint4x2 quint8 uint1 uint16 uint2 uint3 uint32 "
    "uint4 uint5 uint6 uint64 uint7 uint8 per_channel_affine per_channel_affine_float_qparams per_channel_symmetric "
    "per_tensor_affine per_tensor_symmetric Size Tensor device"
)
_REBUILDS = _split(
    "device_tensor_from_cpu_tensor device_tensor_from_numpy meta_tensor_no_storage nested_tensor parameter "
    "parameter_with_state qtensor sparse_tensor tensor tensor_v2 tensor_v3 wrapper_subclass"
)
SAFE = frozenset(
    [
        *("_codecs.encode", "builtins.bytearray", "builtins.complex", "builtins.set"),
        *("collections.Counter", "collections.OrderedDict", "torch._tensor._rebuild_from_type_v2"),
        *("torch.nn.parameter.Parameter", "torch.serialization._get_layout"),
        *("torch.storage.TypedStorage", "torch.storage.UntypedStorage"),
        *(f"torch.{name}" for name in _DTYPES),
        *(f"torch._utils._rebuild_{name}" for name in _REBUILDS),
        *(f"torch.{name}Storage" for name in (*_STORED, *_QUANTIZED)),
        *(f"torch.cuda.{name}Storage" for name in _STORED),
        *(f"torch.{place}{name}Tensor" for place in ("", "cuda.") for name in _DENSE),
        *(f"torch.{place}{name}Tensor" for place in ("sparse.", "cuda.sparse.") for name in _SPARSE),
    ]
)
# What `torch.load(weights_only=True)` executes; a pickle with any other opcode it refuses.
SAFE_OPCODES = frozenset(
    _split(
        "GLOBAL NEWOBJ REDUCE BUILD APPEND APPENDS SETITEM SETITEMS MARK TUPLE TUPLE1 TUPLE2 TUPLE3 NONE NEWFALSE "
        "NEWTRUE EMPTY_TUPLE EMPTY_LIST EMPTY_DICT EMPTY_SET BININT BININT1 BININT2 BINFLOAT BINUNICODE "
        "SHORT_BINSTRING BINPERSID BINGET LONG_BINGET BINPUT LONG_BINPUT LONG1 PROTO STOP"
    )
)

# What lets a pickle run what it likes, or read and write files. Only the order of a listing depends on these: all
# that is not in SAFE needs trust.
DANGEROUS = frozenset(
    _split(
        "_io _pickle _posixsubprocess _thread asyncio atexit bdb builtins cPickle cProfile cloudpickle code "
        "codecs codeop commands concurrent copyreg copy_reg ctypes dill distutils doctest ensurepip fileinput ftplib "
        "gc functools glob http httplib idlelib imaplib imp importlib inspect io joblib lib2to3 linecache logging "
        "mailcap marshal modulefinder multiprocessing nt operator _operator os pathlib pdb pickle pip pkgutil platform "
        "poplib posix profile pty py_compile pydoc requests runpy select setuptools shelve shutil signal site smtplib "
        "socket socketserver sqlite3 ssl subprocess sys tarfile telnetlib tempfile test threading timeit trace types "
        "tracemalloc unittest urllib urllib2 venv webbrowser weakref xmlrpc zipapp zipfile zipimport numpy.f2py "
        "uuid numpy.testing numpy.distutils numpy.load numpy.lib pandas.io pandas.eval pandas.read_pickle torch.hub "
        "torch.jit torch.load torch.save torch.from_file torch.ops torch.package torch.serialization torch.storage "
        "torch.distributed torch.multiprocessing torch.export torch.compile torch._C torch._dynamo torch._inductor "
        "torch.utils transformers.dynamic_module_utils transformers.utils"
    )
)
HARMLESS_BUILTINS = frozenset(
    _split("bool bytes complex dict float frozenset int list object range set slice str tuple unicode long xrange")
)
USUAL = ("torch.nn.", "collections.", "numpy.core.", "numpy._core.", "numpy.", "torch.")
