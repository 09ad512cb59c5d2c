#pragma once
// CaptureFeed: reads a capture, and says before a call of libpcap whether that call would wait.
//
// libpcap reads a record with blocking calls, and returns only when the record is complete. On a
// live pipe, its caller would sleep there and notice nothing else. So the feed reads the file in
// large pieces, finds where records end, and serves libpcap from memory. It also keeps what libpcap
// does not tell: the length of the frame check sequence, and the flags of a packet.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"

namespace shmif {

/// Threads: one at a time.
class CaptureFeed {
 public:
  /// `stop_descriptor`: when it is readable, reads stop waiting; -1: no such descriptor.
  CaptureFeed(UniqueFd input, int stop_descriptor);
  CaptureFeed(const CaptureFeed&) = delete;
  CaptureFeed& operator=(const CaptureFeed&) = delete;

  /// The stream that libpcap reads from. It belongs to libpcap, which closes it. nullptr if there
  /// is no memory. Reads from it wait for input.
  std::FILE* stream();

  /// Whether libpcap can read the next packet, or find the end, without waiting. Blocks: only for a
  /// disk.
  bool look() noexcept;
  /// What the capture says about its next packet, after look() returned true. All 0 if it says
  /// nothing.
  struct Packet {
    std::uint32_t flags = 0;      ///< epb_flags of pcapng
    std::uint32_t fcs_bytes = 0;  ///< how many bytes at its end are the frame check sequence
  };
  const Packet& packet() const noexcept { return packet_; }

  /// Readable when look() may return another result; -1 if look() never has to wait.
  int descriptor() const noexcept { return waits_ ? input_.get() : -1; }
  /// Whether the stop descriptor ended a read.
  bool stopped() const noexcept { return stopped_; }
  std::uint64_t served() const noexcept { return served_; }  ///< bytes that libpcap has read
  /// Whether the capture is valid as far as the feed has seen, but libpcap cannot read it. It may
  /// have sections of two byte orders, or a complete block of more than 16 MiB.
  bool is_beyond_libpcap() const noexcept { return beyond_libpcap_; }
  /// The first bytes, as far as they have been read; at most 8.
  const std::string& begin() const noexcept { return begin_; }
  bool is_pcapng() const noexcept { return begin_.starts_with("\n\r\r\n"); }

 private:
  enum class Format : std::uint8_t {
    unknown,  ///< too little has been read
    pcap,
    pcapng,
    opaque,  ///< records cannot be told apart: libpcap reads, and waits
  };

  long serve(char* into, std::size_t bytes) noexcept;
  enum class IfEmpty : std::uint8_t { wait, give_up };
  bool fill(IfEmpty then) noexcept;
  void scan() noexcept;
  bool step_over(std::size_t bytes) noexcept;
  bool scan_start() noexcept;
  bool scan_record() noexcept;
  bool scan_block() noexcept;
  void scan_interface(std::size_t block, std::size_t bytes) noexcept;
  void scan_packet(std::size_t block, std::size_t bytes, std::uint32_t type) noexcept;
  template <class Found>
  void each_option(std::size_t at, std::size_t end, Found found) const noexcept;
  std::uint32_t word(std::size_t at) const noexcept;
  std::uint16_t half(std::size_t at) const noexcept;

  UniqueFd input_;
  int stop_descriptor_;
  bool waits_ = false;  // a pipe or the like: reads may wait
  bool ended_ = false;
  bool stopped_ = false;
  int failure_ = 0;  // errno of a read

  std::vector<unsigned char> buffer_;
  std::size_t begin_at_ = 0;  // of the bytes not served yet
  std::size_t scanned_ = 0;   // records before this are known
  std::size_t end_at_ = 0;    // of the bytes that were read
  /// Where those records and blocks end in the file that were scanned but not yet served. At most
  /// one of them is a packet.
  std::deque<std::uint64_t> ends_;
  std::uint64_t served_ = 0;
  std::string begin_;

  Format format_ = Format::unknown;
  bool swapped_ = false;
  bool in_section_ = false;
  bool beyond_libpcap_ = false;
  std::uint64_t file_bytes_ = 0;  // of a regular file
  std::size_t record_head_ = 16;
  std::uint32_t file_fcs_ = 0;
  std::vector<std::uint8_t> interface_fcs_;  // of the current section
  bool found_ = false;                       // a whole packet lies in the buffer,
  std::size_t found_end_ = 0;                // up to here
  Packet packet_;
};

}  // namespace shmif
