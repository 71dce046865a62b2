# SPDX-License-Identifier: MIT
"""C code on a machine: shared objects compiled with this project's headers, loaded and called.

    >>> driver = CObject("./driver.so", machine)             # gcc -shared -fPIC $(dma-conformance cflags) driver.c
    >>> driver.call("probe", dev)
    0

An object needs no library and no Python: it has one variable, dma_conformance_object, in which the loader leaves a
table of calls and the address of the machine's linear map. A BUG() in it, or in a model that it calls, ends the call
and is raised as KernelBug. The objects of one machine share its memory.
"""

import os

from libc.errno cimport ENOENT
from libc.string cimport memset
from posix.dlfcn cimport RTLD_LOCAL, RTLD_NOW, dlclose, dlerror, dlopen, dlsym
from posix.unistd cimport close

from scatterlist.bvec cimport BioVecs
from scatterlist.core cimport SgTable
from scatterlist.memory cimport _Borrowed, borrow
from scatterlist.types cimport u64

from ._c_api cimport DMA_CONFORMANCE_VERSION, dma_conformance_calls, dma_conformance_object
from ._c_dma cimport fill_dma_calls
from ._c_lists cimport fill_list_calls
from .c_kernel cimport fill_kernel_calls, guard, kernel_of
from .device cimport Device
from .machine cimport Machine

from . import _abi

cdef enum:
    MAX_ARGUMENTS = 8

cdef dma_conformance_calls CALLS

ctypedef long (*any_fn)(long, long, long, long, long, long, long, long) noexcept nogil


cdef int fill_calls() except -1:
    cdef size_t i
    memset(&CALLS, 0, sizeof(CALLS))
    fill_kernel_calls(&CALLS)
    fill_list_calls(&CALLS)
    fill_dma_calls(&CALLS)
    for i in range(sizeof(CALLS) // sizeof(void *)):
        if (<void **>&CALLS)[i] == NULL:
            raise ImportError(f"dma_ops.c_api: call {i} of c_api.toml has no function")
    layout = _abi.compiled()
    if any(layout[name] != expected for name, expected in _abi.EXPECTED.items()):
        raise ImportError("dma_ops.c_api: the compiler laid out a struct differently from c_api.toml")
    return 0


fill_calls()


cdef struct one_call:
    any_fn function
    long arguments[MAX_ARGUMENTS]
    long answer


cdef void call_it(void *context) noexcept nogil:
    cdef one_call *call = <one_call *>context
    cdef long *a = call.arguments
    call.answer = call.function(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7])


cdef class CObject:
    """A shared object compiled with this project's headers, on a machine (default: one of its page size).

    Raises OSError if it cannot be loaded, ValueError if it was compiled without the headers, with those of another
    version, or for another page size than the machine's. Each CObject is a copy of its own, with its own variables.
    """

    def __init__(self, path, Machine machine=None):
        cdef Machine on
        if self.handle != NULL:
            raise TypeError("a CObject is initialised once")
        self.path = os.path.abspath(path)
        if not os.path.isfile(self.path):
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT), self.path)
        self.fd = os.memfd_create(os.path.basename(self.path))      # open as long as the object is loaded, so that
        with open(self.fd, "wb", closefd=False) as copy, open(self.path, "rb") as file:     # no other has this name
            copy.write(file.read())
        self.handle = dlopen(f"/proc/self/fd/{self.fd}".encode(), RTLD_NOW | RTLD_LOCAL)
        if self.handle == NULL:
            said = dlerror().decode(errors="replace").removeprefix(f"/proc/self/fd/{self.fd}: ")
            raise OSError(f"{self.path} is no shared object that can be loaded: {said}")
        self.object = <dma_conformance_object *>dlsym(self.handle, b"dma_conformance_object")
        if self.object == NULL:
            raise ValueError(f"{self.path} was not compiled with this project's headers (dma-conformance cflags)")
        if self.object.version != DMA_CONFORMANCE_VERSION or self.object.calls_size != sizeof(CALLS):
            raise ValueError(f"{self.path} was compiled with another version's headers: compile it again")
        on = Machine("c", page_shift=self.object.page_shift) if machine is None else machine
        if on.page_shift != self.object.page_shift:
            raise ValueError(f"{self.path} was compiled for pages of {1 << self.object.page_shift} bytes, and machine "
                             f"{on.name} has {on.page_size} (-DPAGE_SHIFT={on.page_shift})")
        self.kernel = kernel_of(on)
        self.bind()

    def __dealloc__(self):
        if self.handle != NULL:
            dlclose(self.handle)
        if self.fd > 0:
            close(self.fd)

    def __repr__(self):
        return f"<CObject {os.path.basename(self.path)} on {self.machine.name}>"

    @property
    def machine(self):
        return self.kernel.machine if self.kernel is not None else None

    cdef int bind(self) except -1:
        """Let the object see this CObject's machine: it may have been loaded for another one since."""
        if self.object == NULL or self.kernel is None:
            raise ValueError("the CObject was made without __init__")
        self.kernel.refresh()
        self.object.calls = &CALLS
        self.object.kernel = &self.kernel.facts
        self.object.page_offset = <u64>self.kernel.mem.base
        self.object.ram_end = self.kernel.mem.size
        return 0

    cdef void *find(self, str name) except NULL:
        cdef void *found = dlsym(self.handle, name.encode()) if self.handle != NULL else NULL
        if found == NULL:
            raise LookupError(f"{self.path} has no symbol {name}")
        return found

    def symbol(self, str name not None):
        """The address of a function or a variable. Raises LookupError."""
        return <u64>self.find(name)

    def call(self, name not None, *arguments, str result="int"):
        """Call a function with up to eight arguments; its answer as result says: int, long, bool, pointer or void.

        name is its symbol, or its address where the object told that, as in a table of functions.

        An argument is an int, a str (as const char *), a bytearray (its memory), a Device (as struct device *), an
        SgTable (struct sg_table *), a BioVecs (its first bio_vec), or None (NULL). What it points at must not be kept
        beyond the call, except devices. The GIL is released. Raises KernelBug.
        """
        cdef one_call call
        cdef list keep = []
        if len(arguments) > MAX_ARGUMENTS:
            raise TypeError(f"{name}: at most {MAX_ARGUMENTS} arguments")
        if result not in ("int", "long", "bool", "pointer", "void"):
            raise ValueError(f"result is {result!r}, not int, long, bool, pointer or void")
        memset(&call, 0, sizeof(call))
        call.function = <any_fn><u64>name if isinstance(name, int) else <any_fn>self.find(name)
        for i, argument in enumerate(arguments):
            call.arguments[i] = <long>self.argument(argument, keep)
        self.bind()
        try:
            with nogil:
                guard(call_it, &call)
        finally:
            self.kernel.read_devices()
        del keep
        if result == "int":
            return <int>call.answer
        if result == "bool":
            return bool(call.answer & 0xff)
        if result == "pointer":
            return <u64>call.answer
        return call.answer if result == "long" else None

    cdef u64 argument(self, argument, list keep) except? 0xBADBADBADBADBAD:
        cdef _Borrowed memory
        if argument is None:
            return 0
        if isinstance(argument, Device):
            return <u64>self.kernel.struct_device(argument)
        if isinstance(argument, SgTable):
            return <u64>&(<SgTable>argument).sgt
        if isinstance(argument, BioVecs):
            return <u64>(<BioVecs>argument).bv
        if isinstance(argument, str):
            keep.append(argument.encode())
            return <u64><char *>(keep[len(keep) - 1])
        if isinstance(argument, int):
            return argument & 0xffffffffffffffff
        memory = borrow(argument, writable=True)
        keep.append(memory)
        return <u64>memory.view.buf if memory.view.len else 0
