#include "perf/inject/stub_room.hpp"

#include <elf.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <string_view>
#include <utility>

#include "perf/inject/machine.hpp"

namespace shmif::perf {
namespace {

/// How many bytes of an ELF file in memory are used, by sections and by loaded segments.
std::optional<std::uint64_t> image_bytes(const std::vector<std::uint8_t>& image) {
  Elf64_Ehdr head{};
  if (image.size() < sizeof head) return std::nullopt;
  std::memcpy(&head, image.data(), sizeof head);
  if (std::memcmp(&head.e_ident[0], ELFMAG, SELFMAG) != 0) return std::nullopt;
  if (head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_phentsize != sizeof(Elf64_Phdr)) {
    return std::nullopt;
  }
  if (head.e_shoff > image.size()) return std::nullopt;
  std::uint64_t end = head.e_shoff + std::uint64_t{head.e_shnum} * head.e_shentsize;
  for (std::uint64_t i = 0; i < head.e_phnum; ++i) {
    const std::uint64_t at = head.e_phoff + i * sizeof(Elf64_Phdr);
    Elf64_Phdr part{};
    if (at > image.size() || image.size() - at < sizeof part) return std::nullopt;
    std::memcpy(&part, &image[at], sizeof part);
    if (part.p_offset > image.size() || part.p_memsz > image.size()) return std::nullopt;
    if (part.p_filesz > image.size()) return std::nullopt;
    end = std::max(end, part.p_offset + std::max(part.p_memsz, part.p_filesz));
  }
  return end <= image.size() ? std::optional(end) : std::nullopt;
}

}  // namespace

std::vector<std::uint8_t> read_memory(int memory, std::uint64_t address, std::size_t bytes) {
  std::vector<std::uint8_t> read(bytes);
  const ssize_t got = ::pread(memory, read.data(), bytes, static_cast<off_t>(address));
  read.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
  return read;
}

std::optional<base::MappedRange> vdso_in(const std::string& maps) {
  constexpr std::string_view kName = "[vdso]";
  const std::size_t name = maps.find(kName);
  if (name == std::string::npos) return std::nullopt;
  const std::size_t before = maps.rfind('\n', name);
  const std::size_t line = before == std::string::npos ? 0 : before + 1;
  return base::read_maps_line(maps.substr(line, name + kName.size() - line));
}

std::optional<StubRoom> StubRoom::behind(const base::MappedRange& vdso,
                                         std::vector<std::uint8_t> bytes) {
  constexpr std::uint64_t kLine = 64;
  const auto image = image_bytes(bytes);
  if (!image) return std::nullopt;
  StubRoom room;
  room.mapped_ = vdso.begin;
  room.begin_ = vdso.begin + *image;
  room.end_ = vdso.begin + bytes.size();
  room.bytes_ = std::move(bytes);
  for (std::uint64_t at = (room.begin_ + kLine - 1) / kLine * kLine; at + kStubBytes <= room.end_;
       at += kStubBytes) {
    room.places_.push_back(at);
  }
  return room;
}

std::optional<std::uint64_t> StubRoom::empty_place() const {
  const auto found = std::ranges::find_if(places_, [&](std::uint64_t place) {
    return std::all_of(at(place), at(place) + kStubBytes, [](std::uint8_t b) { return b == 0; });
  });
  return found != places_.end() ? std::optional(*found) : std::nullopt;
}

std::vector<std::uint64_t> StubRoom::left_behind() const {
  std::vector<std::uint64_t> found;
  const auto head = stub_for({});
  std::ranges::copy_if(places_, std::back_inserter(found), [&](std::uint64_t place) {
    return std::memcmp(at(place), head.data(), kStubHeadBytes) == 0;
  });
  return found;
}

}  // namespace shmif::perf
