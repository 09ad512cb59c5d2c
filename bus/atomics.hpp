#pragma once
// Every atomic access to shared memory goes through this file, so that a reviewer can read all of
// them.
//
// The words of the bus are plain integers in structs (bus/layout.hpp), accessed through
// std::atomic_ref. The name of each function says the memory order.
//
// No operation here promises a full barrier. A thread that writes one word and then looks at
// another must use seq_cst operations for both, and so must the thread that does it the other way
// round. Then at least one of the two sees what the other wrote. An acquire load is not enough: for
// ARMv8.3, clang makes it an LDAPR, which need not wait for an earlier STLR.
//
// To check after relaxed loads whether they are of one moment, call fence_loads() before the check.
// An acquire load is not enough: earlier loads may complete after it.
//
// ThreadSanitizer does not understand fences, and does not see races through two mappings of one
// file. So its builds leave out the two fences, make the bulk copies below of relaxed atomic
// accesses, and let race tests share one mapping.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__SANITIZE_THREAD__)
#define SHMIF_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SHMIF_TSAN 1
#endif
#endif

namespace shmif::bus {

#ifdef SHMIF_FUZZ
/// Does what a hostile process might do between two accesses. The fuzz targets (tests/fuzz) define
/// it.
void on_shared_access() noexcept;
#else
inline void on_shared_access() noexcept {}
#endif

template <class T>
concept SharedWord = std::atomic_ref<T>::is_always_lock_free;

// atomic_ref takes no const object, even for a mapping that is read-only. Loads of lock-free words
// never write.
template <SharedWord T>
T load_relaxed(const T& word) noexcept {
  on_shared_access();
  return std::atomic_ref<T>(const_cast<T&>(word)).load(std::memory_order_relaxed);
}
template <SharedWord T>
T load_acquire(const T& word) noexcept {
  on_shared_access();
  return std::atomic_ref<T>(const_cast<T&>(word)).load(std::memory_order_acquire);
}
template <SharedWord T>
T load_seq_cst(const T& word) noexcept {
  on_shared_access();
  return std::atomic_ref<T>(const_cast<T&>(word)).load(std::memory_order_seq_cst);
}
template <SharedWord T>
void store_relaxed(T& word, T value) noexcept {
  on_shared_access();
  std::atomic_ref<T>(word).store(value, std::memory_order_relaxed);
}
template <SharedWord T>
void store_release(T& word, T value) noexcept {
  on_shared_access();
  std::atomic_ref<T>(word).store(value, std::memory_order_release);
}
/// The store comes after all accesses before it, and before every later seq_cst operation. Other
/// later accesses may come before it.
template <SharedWord T>
void store_seq_cst(T& word, T value) noexcept {
  on_shared_access();
  std::atomic_ref<T>(word).store(value, std::memory_order_seq_cst);
}
/// Compare and swap. Result: true if `word` held `expected` and now holds `desired`. Then it is a
/// load_seq_cst() and a store_seq_cst(), and accesses that follow may come between the two. If it
/// failed, it is a load_seq_cst() only.
template <SharedWord T>
bool compare_and_swap(T& word, T expected, T desired) noexcept {
  on_shared_access();
  return std::atomic_ref<T>(word).compare_exchange_strong(expected, desired,
                                                          std::memory_order_seq_cst);
}
/// These three return the previous value. They are ordered as a compare_and_swap() that succeeds.
template <SharedWord T>
T fetch_add(T& word, T value) noexcept {
  on_shared_access();
  return std::atomic_ref<T>(word).fetch_add(value, std::memory_order_seq_cst);
}
template <SharedWord T>
T fetch_or(T& word, T bits) noexcept {
  on_shared_access();
  return std::atomic_ref<T>(word).fetch_or(bits, std::memory_order_seq_cst);
}
template <SharedWord T>
T fetch_and(T& word, T bits) noexcept {
  on_shared_access();
  return std::atomic_ref<T>(word).fetch_and(bits, std::memory_order_seq_cst);
}

/// Other threads see stores before the fence earlier than stores after it.
inline void fence_stores() noexcept {
#ifndef SHMIF_TSAN
  std::atomic_thread_fence(std::memory_order_release);
#endif
}
/// Loads before the fence are complete before loads after it begin.
inline void fence_loads() noexcept {
#ifndef SHMIF_TSAN
  std::atomic_thread_fence(std::memory_order_acquire);
#endif
}

/// Requests the cache line of `word` for this CPU alone, without waiting for it.
template <SharedWord T>
void prefetch_to_write(const T& word) noexcept {
#if defined(__x86_64__)
  // g++ emits this instruction only for newer CPUs than this build's target. Older CPUs have it
  // too, or ignore it.
  asm volatile("prefetchw %0" : : "m"(word));
#else
  __builtin_prefetch(&word, 1);
#endif
}

/// Requests the cache line at `address` for a later read, without waiting for it.
inline void prefetch_to_read(const std::byte* address) noexcept {
#if defined(__x86_64__)
  // g++ 12 drops calls of functions that only have its builtin.
  asm volatile("prefetcht1 %0" : : "m"(*address));
#else
  __builtin_prefetch(address, 0, 2);
#endif
}

/// Tells the CPU that this is a spin loop.
inline void cpu_relax() noexcept {
#if defined(SHMIF_FUZZ)
  // A fuzz target has no other thread, and in a virtual machine a pause can take long.
#elif defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// The two bulk copies race by design: a reader may copy what a writer is overwriting, and finds out
// afterwards from `first` (docs/theory-of-operation.md, I6). So the copied bytes may be torn, and
// only checked bytes are used. In release builds they are memcpy, which measured 3 times the speed
// of word-wise atomics at 1514 B.
#ifdef SHMIF_TSAN
/// Copies one item of type `Unit`, relaxed. This is not a data race, and on x86, where these builds
/// run, loads and stores keep their order. (With release and acquire for every item a test took
/// minutes.)
template <class Unit>
void copy_unit(std::byte* to, const std::byte* from, bool to_shared) noexcept {
  Unit item;
  if (to_shared) {
    std::memcpy(&item, from, sizeof item);
    store_relaxed(reinterpret_cast<Unit&>(*to), item);
  } else {
    item = load_relaxed(reinterpret_cast<const Unit&>(*from));
    std::memcpy(to, &item, sizeof item);
  }
}
inline void copy_words(std::byte* to, const std::byte* from, std::size_t size,
                       bool to_shared) noexcept {
  const auto shared = reinterpret_cast<std::uintptr_t>(to_shared ? to : from);
  std::size_t at = 0;
  if (shared % sizeof(std::uint64_t) == 0) {
    for (; size - at >= sizeof(std::uint64_t); at += sizeof(std::uint64_t)) {
      copy_unit<std::uint64_t>(to + at, from + at, to_shared);
    }
  }
  for (; at < size; ++at) copy_unit<unsigned char>(to + at, from + at, to_shared);
}
#endif

/// As memcpy, but copies a short block inline: for a frame of 64 bytes the call would cost as much
/// as the copy.
inline void copy_bytes(std::byte* to, const std::byte* from, std::size_t size) noexcept {
  constexpr std::size_t kStep = 16;
  constexpr std::size_t kShort = 128;
  if (__builtin_constant_p(size) && size <= kStep) {
    std::memcpy(to, from, size);  // one or two instructions
    return;
  }
  if (size < kStep || size > kShort) {
    // Where g++ can tell that a size is below 8 KiB, it emits `rep movs` instead of the call, which
    // takes 30 ns to begin.
    asm("" : "+r"(size));
    std::memcpy(to, from, size);
    return;
  }
  for (std::size_t at = 0; at + kStep < size; at += kStep) {
    std::memcpy(to + at, from + at, kStep);
  }
  std::memcpy(to + size - kStep, from + size - kStep, kStep);  // overlaps the previous copy
}

/// Copies private bytes into the ring.
inline void copy_to_shared(std::byte* to, const std::byte* from, std::size_t size) noexcept {
  on_shared_access();
#ifdef SHMIF_TSAN
  copy_words(to, from, size, true);
#else
  copy_bytes(to, from, size);
#endif
}
/// Copies bytes of the ring, which others may be overwriting, into private memory.
inline void copy_from_shared(std::byte* to, const std::byte* from, std::size_t size) noexcept {
  on_shared_access();
#ifdef SHMIF_TSAN
  copy_words(to, from, size, false);
#else
  copy_bytes(to, from, size);
#endif
}

}  // namespace shmif::bus
