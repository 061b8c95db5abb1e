"""A second witness: what Python itself reports while an input runs, and cannot be told not to.

An audit hook (PEP 578) stays for the life of the process, whatever is deleted or
replaced afterwards. It writes down programs that are started, connections, files
that are opened around the session, and code that no input announced; and it
refuses what would reach around the mode of the session. It is no sandbox: native
code can do anything unseen.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from threading import local
from types import FrameType
from typing import Any
from urllib.parse import unquote

from ..config import ROOT
from ..engine.connections import opening
from .modes import Mode
from .transcript import Transcript

AT_MOST = 200
"""What is written down of one input; a loop must not fill the disk."""

_TOLD = {
    "os.system": "program",
    "os.exec": "program",
    "os.posix_spawn": "program",
    "os.spawn": "program",
    "os.startfile": "program",
    "pty.spawn": "program",
    "subprocess.Popen": "program",
    "os.fork": "fork",
    "os.forkpty": "fork",
    "socket.connect": "connection",
    "ctypes.dlopen": "native code",
    "ctypes.dlsym": "native code",
    "ctypes.call_function": "native code",
    "ctypes.cdata/buffer": "native code",
    "ctypes.PyObj_FromPtr": "native code",
    "sys.addaudithook": "hook",
    "sys.settrace": "hook",
    "sys.setprofile": "hook",
    "gc.get_objects": "objects",
    "gc.get_referrers": "objects",
}
_WRITING = frozenset("wax+")
"""The letters of ``open()`` that mean more than reading."""


class Prevented(PermissionError):
    """The witness refused it."""


@dataclass(slots=True)
class Watch:
    """What the hook looks after while a session lives."""

    transcript: Transcript
    mode: Mode
    database: tuple[str, ...]
    """The files of a SQLite database, absolute; empty for a server."""
    protected: str
    """The folder of the transcripts, absolute."""
    running: bool = False
    announced: bool = False
    """Whether the code that is compiled next was written down as an input."""
    known: set[int] = field(default_factory=set)
    """The inputs that were compiled, by their hash."""
    seen: int = 0
    busy: local = field(default_factory=local)


_watch: Watch | None = None
_is_hooked = False


def begin(watch: Watch) -> None:
    """Look after this session from now on."""
    global _watch, _is_hooked
    _watch = watch
    if not _is_hooked:
        sys.addaudithook(_hook)
        _is_hooked = True


def runs_inputs(file: str) -> None:
    """Declare that the code which ``file`` executes was written down as an input before."""
    _input_runners.add(file)


def end() -> None:
    """The session is over; the hook stays, and has nothing to look after."""
    global _watch
    _watch = None


def announce(watch: Watch, text: str, **more: Any) -> None:
    """Put an input on the disk, and let it be compiled.

    :raises NotReady: it cannot be written, so it may not run.
    """
    watch.transcript.write("input", text, **more)
    watch.announced, watch.running, watch.seen = True, True, 0


def rest(watch: Watch) -> None:
    """The input has run."""
    watch.running = watch.announced = False


def _hook(event: str, args: tuple[Any, ...]) -> None:
    watch = _watch
    if watch is None or getattr(watch.busy, "inside", False):
        return
    look = _LOOKS.get(event)
    if look is None and event not in _TOLD:
        return
    watch.busy.inside = True
    try:
        if look is not None:
            look(watch, event, args)
        else:
            _tell(watch, _TOLD[event], event, args)
    finally:
        watch.busy.inside = False


def _tell(watch: Watch, kind: str, event: str, args: tuple[Any, ...]) -> None:
    """Write down what happens while an input runs."""
    if not watch.running:
        return
    watch.seen += 1
    if watch.seen <= AT_MOST:
        shown = ", ".join(_shown(arg) for arg in args[:2])
        watch.transcript.write(kind, f"{event}({shown})"[:2000])
    elif watch.seen == AT_MOST + 1:
        watch.transcript.write("more", f"more than {AT_MOST} things happened in this input")


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        return value[:2000].decode(errors="replace")
    # Only plain values: asking anything else for its repr would run somebody's code.
    if isinstance(value, str | int | float | None):
        return str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_shown, value[:50])) + "]"
    return f"<{type(value).__name__}>"


# --- what is looked at more closely ------------------------------------------


def _compiled(watch: Watch, event: str, args: tuple[Any, ...]) -> None:
    source, name = args
    name = _shown(name)
    if not isinstance(source, str | bytes):
        return  # The same code once more, parsed.
    if name.startswith("<ipython-input-"):
        _compiled_input(watch, _shown(source))
    elif name != "<unknown>" and not _is_by_a_library():
        # <unknown> is what is parsed and not run.
        _tell(watch, "code", event, (source, name))


def _compiled_input(watch: Watch, source: str) -> None:
    known = hash(source)
    if watch.announced:
        watch.announced = False
        watch.known.add(known)
    elif known not in watch.known:  # A traceback reads the inputs of before once more.
        watch.transcript.write("unannounced", source)


def _executed(watch: Watch, event: str, args: tuple[Any, ...]) -> None:
    name = getattr(args[0], "co_filename", "")
    if not name.startswith(("<ipython-input-", *_INSTALLED)) and not _is_by_a_library():
        _tell(watch, "code", event, (name,))


def _loaded(watch: Watch, event: str, args: tuple[Any, ...]) -> None:
    if not _is_by_a_library():
        _tell(watch, "code", event, ())


_INSTALLED = (sys.prefix, sys.base_prefix, str(ROOT), "<frozen ")
_input_runners: set[str] = set()
_GENERATES_CODE = re.compile(
    r"^<frozen |/(?:collections/__init__|dataclasses|enum|typing|functools|ast|inspect)\.py$"
    r"|/(?:sqlalchemy|IPython|prompt_toolkit|jedi|parso|pygments|rich|flask|werkzeug|jinja2"
    r"|executing|asttokens|stack_data|pure_eval|traitlets)/"
)


def _is_by_a_library() -> bool:
    """Whether it is what a library or an import does, and not what somebody typed."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  (inspect is slower by far)
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    if frame is None:
        return True
    file = frame.f_code.co_filename
    return file in _input_runners or _GENERATES_CODE.search(file) is not None


def _opened(watch: Watch, event: str, args: tuple[Any, ...]) -> None:
    path, mode, flags = args
    writes = bool(_WRITING & set(mode)) if isinstance(mode, str) else bool((flags or 0) & 3)
    where = _absolute(path)
    if where is None or not writes:
        return
    _protect_transcripts(watch, where)
    if where in watch.database:
        if watch.mode is not Mode.WRITE:
            _refuse(watch, f"opening {where} for writing")
        _tell(watch, "file", event, (where, mode))


def _changed_file(watch: Watch, event: str, args: tuple[Any, ...]) -> None:
    folder = next((arg for arg in args[1:] if isinstance(arg, int) and arg >= 0), None)
    for path in args[:1] if event in ("os.remove", "os.chmod", "os.truncate") else args[:2]:
        where = _absolute(path, folder if event == "os.remove" else None)
        if where is not None:
            _protect_transcripts(watch, where)
            if where in watch.database and watch.mode is not Mode.WRITE:
                _refuse(watch, f"{event} of {where}")
    _tell(watch, "file", event, args)


def _connected_sqlite(watch: Watch, event: str, args: tuple[Any, ...]) -> None:
    given = str(args[0]) if isinstance(args[0], PurePath) else args[0]
    if not isinstance(given, str | bytes):  # Asking it for its path would run somebody's code.
        if watch.mode is not Mode.WRITE:
            _refuse(watch, f"a connection to what {_shown(given)} names")
        _tell(watch, "database", event, args)
        return
    given = _shown(given)
    where = _absolute(_file_of(given))
    is_ours = opening.get()
    # What we open ourselves for a session that may not write is read-only.
    may = watch.mode is Mode.WRITE or (is_ours and _READ_ONLY.fullmatch(given) is not None)
    if where in watch.database and not may:
        _refuse(watch, f"a connection of its own to {where}")
    if is_ours:
        return
    _tell(watch, "database", event, args)


_READ_ONLY = re.compile(r"file:[^?#]*\?mode=ro")


def _file_of(given: str) -> str:
    """The path that SQLite takes from a name, which may be a URI."""
    if not given.startswith("file:"):
        return given
    path = re.split("[?#]", given.removeprefix("file:"), maxsplit=1)[0]
    if path.startswith("//"):
        path = "/" + path[2:].partition("/")[2]  # There may be a host: nobody, or localhost.
    return unquote(path).partition("\0")[0]


def _sent_mail(watch: Watch, event: str, args: tuple[Any, ...]) -> None:
    if watch.mode is not Mode.WRITE:
        _refuse(watch, f"mail by way of {_shown(args[1])}")
    _tell(watch, "mail", event, args[1:])


def _removed_tree(watch: Watch, event: str, args: tuple[Any, ...]) -> None:
    where = _absolute(args[0])
    if where and f"{watch.protected}/".startswith(where.rstrip("/") + "/"):
        _refuse(watch, f"removing {where}")
    _tell(watch, "file", event, args)


def _absolute(path: Any, folder: int | None = None) -> str | None:
    """The path of a file; ``path`` may be a descriptor, or stand in an open ``folder``."""
    if isinstance(path, int) and not isinstance(path, bool):
        return _of_descriptor(path)
    if folder is not None and isinstance(path, str) and not path.startswith("/"):
        path = f"{_of_descriptor(folder)}/{path}"
    if isinstance(path, PurePath):
        path = str(path)
    if isinstance(path, bytes):
        path = path.decode(errors="replace")
    if not isinstance(path, str) or not path:
        return None
    return str(Path(path).resolve())


def _of_descriptor(number: int) -> str | None:
    try:
        return str(Path(f"/proc/self/fd/{number}").readlink())
    except OSError:
        return None


def _protect_transcripts(watch: Watch, where: str) -> None:
    if where == watch.protected or where.startswith(watch.protected + "/"):
        _refuse(watch, f"changing {where}")


def _refuse(watch: Watch, what: str) -> None:
    watch.transcript.write("refused", what)
    raise Prevented(f"this session may not do that: {what}")


_LOOKS: dict[str, Callable[[Watch, str, tuple[Any, ...]], None]] = {
    "compile": _compiled,
    "exec": _executed,
    "code.__new__": _loaded,
    "marshal.loads": _loaded,
    "pickle.find_class": _loaded,
    "open": _opened,
    "sqlite3.connect": _connected_sqlite,
    "smtplib.connect": _sent_mail,
    "shutil.rmtree": _removed_tree,
    **dict.fromkeys(
        ("os.remove", "os.rename", "os.truncate", "os.chmod", "os.link", "os.symlink"),
        _changed_file,
    ),
}
