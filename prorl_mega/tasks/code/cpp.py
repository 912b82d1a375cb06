"""C++ programs: the command that compiles one, and the few lines in front of it that open standard streams by name."""

from __future__ import annotations

import shutil

from prorl_mega.errors import ConfigError

_STREAMS = r"""
namespace sandbox_streams {
struct File;
extern "C" {
void* sandbox_dlsym(void*, const char*) __asm__("dlsym");
File* sandbox_fopen(const char*, const char*) __asm__("fopen");
File* sandbox_fopen64(const char*, const char*) __asm__("fopen64");
File* sandbox_freopen(const char*, const char*, File*) __asm__("freopen");
}
template <class F> static F* next(const char* name) { return (F*)sandbox_dlsym((void*)-1, name); }
static bool equal(const char* a, const char* b) {
    while (*a && *a == *b) ++a, ++b;
    return *a == *b;
}
static int number(const char* path) {
    const char* names[] = {"/dev/stdin", "/dev/stdout", "/dev/stderr"};
    for (int i = 0; path && i < 3; ++i) if (equal(path, names[i])) return i;
    return -1;
}
static File* opened(const char* name, const char* path, const char* mode) {
    int stream = number(path);
    if (stream < 0) return next<File*(const char*, const char*)>(name)(path, mode);
    return next<File*(int, const char*)>("fdopen")(next<int(int)>("dup")(stream), mode);
}
extern "C" {
File* sandbox_fopen(const char* path, const char* mode) { return opened("fopen", path, mode); }
File* sandbox_fopen64(const char* path, const char* mode) { return opened("fopen64", path, mode); }
File* sandbox_freopen(const char* path, const char* mode, File* file) {
    int wanted = number(path);
    if (wanted < 0) return next<File*(const char*, const char*, File*)>("freopen")(path, mode, file);
    int stream = next<int(File*)>("fileno")(file);
    if (stream != wanted) next<int(int, int)>("dup2")(wanted, stream);
    return file;
}
}
}
#line 1
"""  # the sandbox has no such files, and no /proc that they could lead to


def compiler() -> list[str]:
    """The command that compiles standard input. Raises ConfigError."""
    for name in ("g++", "clang++"):
        if shutil.which(name) is not None:
            flags = ["-O2", "-std=gnu++20", "-DONLINE_JUDGE", "-w", "-pipe", "-x", "c++"]
            return [name, *flags, "-", "-o", "/tmp/program", "-ldl"]
    raise ConfigError("C++ programs need a compiler, and neither g++ nor clang++ is installed")


def unit(program: str) -> str:
    """The text to compile."""
    return _STREAMS + program
