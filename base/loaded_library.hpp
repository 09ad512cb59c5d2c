#pragma once
// A shared library that a process loads when it first needs it, so that programs do not load what
// they may never use.

#include <dlfcn.h>

namespace shmif {

/// The library stays loaded until the process ends. Threads: safe. Blocks: the constructor, for the
/// disk.
class LoadedLibrary {
 public:
  /// `name`: a path, or a name that the dynamic linker looks for in the usual places.
  explicit LoadedLibrary(const char* name) noexcept
      : handle_(::dlopen(name, RTLD_NOW | RTLD_LOCAL)) {}

  explicit operator bool() const noexcept { return handle_ != nullptr; }

  /// Sets `into` to the address of `symbol`. Result: whether the library is loaded and has the
  /// symbol. If not, ::dlerror() says why.
  template <class T>
  bool find(const char* symbol, T*& into) const noexcept {
    if (handle_ == nullptr) return false;
    into = reinterpret_cast<T*>(::dlsym(handle_, symbol));
    return into != nullptr;
  }

 private:
  void* handle_;
};

}  // namespace shmif
