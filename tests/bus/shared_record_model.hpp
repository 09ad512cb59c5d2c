#pragma once
// A bus as docs/bus-format.md describes it, read from the bytes of the file without the library's
// code, and all records that were ever in its ring.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"

namespace shmif::test {

/// The bytes of a bus file. Threads: one, while nobody writes.
class BusBytes {
 public:
  static constexpr std::uint64_t kRingBegin = 196608;

  explicit BusBytes(const std::string& path) {
    const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat of{};
    EXPECT_EQ(::fstat(file.get(), &of), 0);
    size_ = static_cast<std::size_t>(of.st_size);
    void* const map = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.get(), 0);
    EXPECT_NE(map, MAP_FAILED);
    bytes_ = static_cast<const std::byte*>(map);
  }
  BusBytes(const BusBytes&) = delete;
  BusBytes& operator=(const BusBytes&) = delete;
  ~BusBytes() { ::munmap(const_cast<std::byte*>(bytes_), size_); }

  template <class T>
  T at(std::uint64_t offset) const {
    T value{};
    std::memcpy(&value, bytes_ + offset, sizeof value);
    return value;
  }
  std::uint64_t ring_bytes() const { return at<std::uint64_t>(16); }
  std::uint64_t last() const { return at<std::uint64_t>(144); }
  std::uint64_t first() const { return at<std::uint64_t>(192); }
  static std::uint64_t slot(unsigned s) { return 4096 + 512 * std::uint64_t{s}; }

  /// Of the ring, whose begin follows its end.
  std::vector<std::byte> ring(std::uint64_t position, std::uint64_t bytes) const {
    std::vector<std::byte> all(bytes);
    const std::uint64_t at = position % ring_bytes(), here = std::min(bytes, ring_bytes() - at);
    std::memcpy(all.data(), bytes_ + kRingBegin + at, here);
    std::memcpy(all.data() + here, bytes_ + kRingBegin, bytes - here);
    return all;
  }
  template <class T>
  T in_ring(std::uint64_t position) const {
    T value{};
    std::memcpy(&value, ring(position, sizeof value).data(), sizeof value);
    return value;
  }

 private:
  const std::byte* bytes_ = nullptr;
  std::size_t size_ = 0;
};

struct ModelFrame {
  std::uint64_t number = 0;
  std::uint64_t record = 0;  ///< its position
  std::uint64_t inside = 0;  ///< bytes of the record before its entry; 0: it is the first
  unsigned slot = 0;
  std::uint32_t incarnation = 0;
  std::vector<std::byte> bytes{};

  std::uint64_t destination() const {
    std::uint64_t mac = 0;
    for (int i = 0; i < 6; ++i) mac = mac << 8U | std::to_integer<std::uint64_t>(bytes.at(i));
    return mac;
  }
};

/// Every record that the chain ever had, in its order, with the pads between them.
class Chain {
 public:
  Chain(const BusBytes& bus, std::uint64_t position, std::uint64_t number)
      : bus_(&bus), end_(position), number_(number), base_(number) {
    borders_[position] = number;
  }

  /// Adds what was sent since the last time. Must come before it is overwritten.
  void grow() {
    while (add_record()) {
    }
  }
  std::uint64_t end() const { return end_; }
  std::uint64_t next_number() const { return number_; }
  std::uint64_t frames() const { return frames_.size(); }
  std::uint64_t shared_records() const { return shared_; }
  std::uint64_t alike_records() const { return alike_; }
  std::uint64_t pads() const { return pads_; }
  /// Numbers may go round.
  const ModelFrame& frame(std::uint64_t number) const { return frames_.at(number - base_); }
  /// Whether a record, a pad or the end is at `position`.
  bool has_border(std::uint64_t position) const { return borders_.contains(position); }
  /// Of the first frame at `position` or behind it.
  std::uint64_t number_at(std::uint64_t position) const { return borders_.at(position); }
  /// The first border that is not in front of `position`; the end if there is none.
  std::uint64_t border_from(std::uint64_t position) const {
    const auto at = borders_.lower_bound(position);
    return at == borders_.end() ? end_ : at->first;
  }

 private:
  bool add_record() {
    const auto word = bus_->in_ring<std::uint64_t>(end_);
    const std::uint64_t place = end_ / 16, kind = word >> 62U;
    if (kind == 1) {
      EXPECT_EQ(word & 0x3fffffffffffffffU, place) << "the end of the chain";
      EXPECT_EQ(bus_->in_ring<std::uint64_t>(end_ + 8), number_);
      return false;
    }
    std::uint64_t bytes = 0;
    if (kind == 3) {
      EXPECT_EQ(word & 0x7ffffffffU, place & 0x7ffffffffU);
      bytes = (word >> 35U & 0x7ffffffU) * 16;
      ++pads_;
    } else {
      EXPECT_EQ(kind, 2U) << "neither FRAME nor PAD nor EMPTY at " << end_;
      EXPECT_EQ(word & 0x3ffffffffffU, place & 0x3ffffffffffU);
      EXPECT_EQ(word >> 61U & 1U, 0U) << "nothing is left to do here";
      const std::uint64_t body = word >> 42U & 0x3ffffU;
      add_frames(body, (word >> 60U & 1U) != 0);
      bytes = (32 + body + 31) / 32 * 32;
    }
    if (kind < 2 || bytes == 0) return false;
    end_ += bytes;
    borders_[end_] = number_;
    return true;
  }

  void add_frames(std::uint64_t body, bool shared) {
    ModelFrame frame{.record = end_,
                     .slot = bus_->in_ring<std::uint16_t>(end_ + 24),
                     .incarnation = bus_->in_ring<std::uint32_t>(end_ + 28)};
    EXPECT_EQ(bus_->in_ring<std::uint64_t>(end_ + 8), number_);
    const auto count = bus_->in_ring<std::uint16_t>(end_ + 26);
    if (shared) {
      EXPECT_GE(count, 2U);
      ++shared_;
    } else {
      const std::uint64_t step = (32 + body + 31) / 32 * 32;
      const auto header = [&](std::uint64_t position) {  // but for the word and the number
        auto bytes = bus_->ring(position + 16, 16 + 6);
        bytes[10] = bytes[11] = std::byte{};
        return bytes;
      };
      for (unsigned i = 1; i < count; ++i) {  // records that are alike, up to and with the address
        const std::uint64_t next = end_ + i * step;
        EXPECT_EQ(bus_->in_ring<std::uint64_t>(next) >> 42U, 2U << 20U | body);
        EXPECT_EQ(bus_->in_ring<std::uint64_t>(next + 8), number_ + i);
        EXPECT_EQ(bus_->in_ring<std::uint16_t>(next + 26), count - i);
        EXPECT_EQ(header(next), header(end_));
      }
      alike_ += count > 1 ? 1 : 0;
    }
    std::uint64_t offset = 0;
    for (unsigned i = 0; i < (shared ? count : 1U); ++i) {
      std::uint64_t bytes = body;
      if (shared) bytes = bus_->in_ring<std::uint32_t>(end_ + 32 + offset);
      frame.number = number_++;
      frame.inside = i == 0 ? 0 : 32 + offset;
      frame.bytes = bus_->ring(end_ + 32 + offset + (shared ? 4 : 0), bytes);
      frames_.push_back(frame);
      if (shared) offset += (4 + bytes + 3) / 4 * 4;
    }
    if (shared) {
      EXPECT_EQ(offset, body) << "the entries fill the body";
    }
  }

  const BusBytes* bus_;
  std::uint64_t end_, number_, base_;
  std::vector<ModelFrame> frames_;
  std::map<std::uint64_t, std::uint64_t> borders_;
  std::uint64_t shared_ = 0, alike_ = 0, pads_ = 0;
};

}  // namespace shmif::test
